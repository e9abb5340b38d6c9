"""A client of CURVE that frames its messages itself (RFC 25 and 26), to send what ZeroMQ's own sockets would not."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils import z85

BOX_OVERHEAD = 16
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)


def _sodium() -> ctypes.CDLL:
    """The library that pyzmq's wheels bring along, or the machine's."""
    brought = map(str, (Path(zmq.__file__).parents[1] / "pyzmq.libs").glob("libsodium*"))
    found = next(brought, None) or ctypes.util.find_library("sodium")
    assert found, "there is no libsodium: neither pyzmq brings one nor has the machine one"
    return ctypes.CDLL(found)


class Box:
    """NaCl's box between our secret key and their public one."""

    def __init__(self, theirs: bytes, ours: bytes) -> None:
        self._sodium = _sodium()
        self._shared = ctypes.create_string_buffer(32)
        assert self._sodium.crypto_box_beforenm(self._shared, theirs, ours) == 0

    def seal(self, text: bytes, nonce: bytes) -> bytes:
        sealed = ctypes.create_string_buffer(len(text) + BOX_OVERHEAD)
        length = ctypes.c_ulonglong(len(text))
        assert self._sodium.crypto_box_easy_afternm(sealed, text, length, nonce, self._shared) == 0
        return sealed.raw

    def open(self, sealed: bytes, nonce: bytes) -> bytes:
        text = ctypes.create_string_buffer(len(sealed) - BOX_OVERHEAD)
        length = ctypes.c_ulonglong(len(sealed))
        assert self._sodium.crypto_box_open_easy_afternm(text, sealed, length, nonce, self._shared) == 0
        return text.raw


class CurveConnection:
    """What is said over a tcp connection after the handshake; raises OSError once the server has ended it."""

    def __init__(
        self,
        connection: socket.socket,
        server: bytes,
        public: bytes,
        secret: bytes,
        kind: bytes,
        identity: bytes = b"",
    ) -> None:
        """Keys are Z85; `kind` is the type that the client's socket says it has, `identity` its routing id."""
        self._connection = connection
        self._sent = 0
        server, public, secret = z85.decode(server), z85.decode(public), z85.decode(secret)
        short_public, short_secret = map(z85.decode, zmq.curve_keypair())
        connection.sendall(GREETING)
        self._receive(64)
        hello = Box(server, short_secret).seal(bytes(64), b"CurveZMQHELLO---" + self._number())
        self._command(b"\x05HELLO\x01\x00" + bytes(72) + short_public + self._short_number() + hello)
        welcome = self._answer().removeprefix(b"\x07WELCOME")
        opened = Box(server, short_secret).open(welcome[16:], b"WELCOME-" + welcome[:16])
        short_server, cookie = opened[:32], opened[32:]
        self._box = Box(short_server, short_secret)
        nonce = os.urandom(16)
        vouch = nonce + Box(short_server, secret).seal(short_public + server, b"VOUCH---" + nonce)
        metadata = b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
        metadata += b"\x08Identity" + struct.pack(">I", len(identity)) + identity
        initiate = self._box.seal(public + vouch + metadata, b"CurveZMQINITIATE" + self._number())
        self._command(b"\x08INITIATE" + cookie + self._short_number() + initiate)
        assert self._answer().startswith(b"\x05READY")

    def send(self, frame: bytes, *, more: bool) -> None:
        """One frame of a message; with `more` it says that another one follows."""
        sealed = self._box.seal(bytes([more]) + frame, b"CurveZMQMESSAGEC" + self._number())
        body = b"\x07MESSAGE" + self._short_number() + sealed
        self._connection.sendall(b"\x02" + struct.pack(">Q", len(body)) + body)

    def end(self) -> list[bytes]:
        """Say no more, which has the server end the connection; returns the frames that it had sent by then."""
        self._connection.shutdown(socket.SHUT_WR)
        return list(self._frames(b"".join(iter(lambda: self._connection.recv(65536), b""))))

    def _frames(self, received: bytes) -> Iterator[bytes]:
        rest = io.BytesIO(received)
        while flags := rest.read(1):
            is_long = flags[0] & 2
            (length,) = struct.unpack(">Q" if is_long else ">B", rest.read(8 if is_long else 1))
            body = rest.read(length)
            assert body.startswith(b"\x07MESSAGE"), "something else than a message"
            yield self._box.open(body[16:], b"CurveZMQMESSAGES" + body[8:16])[1:]

    def _number(self) -> bytes:
        """Of the next command."""
        self._sent += 1
        return self._short_number()

    def _short_number(self) -> bytes:
        """The same once more."""
        return struct.pack(">Q", self._sent)

    def _command(self, body: bytes) -> None:
        self._connection.sendall(b"\x06" + struct.pack(">Q", len(body)) + body)

    def _answer(self) -> bytes:
        flags, length = self._receive(2)
        assert flags == 4, "a short command"
        return self._receive(length)

    def _receive(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self._connection.recv(count - len(received))
            if not more:
                raise ConnectionError("the other side has ended the connection")
            received += more
        return received
