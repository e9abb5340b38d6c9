"""The connections that peers have opened to a service's tcp sockets, and an end for those that take too much.

ZeroMQ bounds a frame, not the frames of a message nor the connections. A message that never ends is kept where nobody
sees it, 64 bytes of memory for each frame of 2; and who has all file descriptors keeps others out.
"""

from __future__ import annotations

import contextlib
import resource
import socket as unix_socket
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

from headrace_proto.connection_metrics import ConnectionMetrics
from headrace_proto.errors import WireError
from headrace_proto.logs import Logger, RateLimit

MOST_CONNECTIONS = 8192
SPARE_DESCRIPTORS = 128
"""Of the process's open files, not for connections: its own sockets, its files, scrapes."""

MOST_FRAMES = 64
"""Of a message that is merely refused; a peer that sends longer ones is cut off."""

INCOMPLETE_BYTES = 8 * 1024 * 1024
"""Of messages whose end has not come, over all peers, beside what is expected of them: 256 MiB as frames of 2 bytes."""

LOOK_AFTER_BYTES = 32 * 1024 * 1024
"""By how much the process grows before the connections are looked at: what takes no memory does no harm."""

CUT_AGAIN_SECONDS = 1.0
"""Between two ends of one file descriptor, which may be another's by then."""

PAUSE_SECONDS = 3.0
"""Before a host is let in again from which somebody was cut off for an offence; what it has open stays."""

_RESET = struct.pack("ii", 1, 0)
"""Linger on, for no time: the peer learns of the end at once, though it is in the middle of sending."""

_BYTES_RECEIVED = 128
"""Where `struct tcp_info` of linux/tcp.h has tcpi_bytes_received, 64 bits."""


@dataclass(slots=True)
class _Connection:
    """`complete_bytes` is what had come when a message was last seen to be complete."""

    complete_bytes: int = 0
    is_heard: bool = False


class Connections:
    """Open connections by socket and file descriptor, least recently heard first. Two threads use it."""

    def __init__(self, metrics: ConnectionMetrics | None, log: Logger) -> None:
        """`metrics` is None where a service binds no socket.

        `expected_bytes` is for the owner to set: what honest peers may have under way at once.
        """
        self.expected_bytes = 0
        self._metrics = metrics
        self._log = log
        self._limit = RateLimit()
        self._lock = threading.Lock()
        self._names: dict[zmq.Socket[bytes], str] = {}
        self._open: dict[str, OrderedDict[int, _Connection]] = {}
        self._cut_at: dict[int, float] = {}
        self._paused_until: dict[str, float] = {}
        self._resident = resident_bytes()
        self._most = MOST_CONNECTIONS

    def watch(self, zmq_socket: zmq.Socket[bytes], socket: str) -> None:
        """Expect connections to a socket; says so if the process may open too few files for as many as there may be."""
        self._names[zmq_socket] = socket
        self._open[socket] = OrderedDict()
        if self._metrics is not None:
            self._metrics.show(socket)
        self._most = most_connections()
        if self._most < MOST_CONNECTIONS and self._limit.allows("files"):
            self._log.warning(
                "few files may be open: of more connections the longest silent ones are ended",
                connections=self._most,
                advice=f"raise the hard limit (ulimit -Hn) to {MOST_CONNECTIONS + SPARE_DESCRIPTORS}",
            )

    def accepted(self, socket: str, descriptor: int) -> None:
        """A peer has connected; where there are too many, the longest silent one at the fullest socket is cut off."""
        with self._lock:
            self._cut_at.pop(descriptor, None)
            self._open[socket][descriptor] = _Connection()
            if self._is_paused(host(descriptor)):
                del self._open[socket][descriptor]
                self._end(socket, descriptor, "paused")
            elif sum(map(len, self._open.values())) > self._most:
                fullest = max(self._open, key=lambda name: len(self._open[name]))
                longest_silent = next(iter(self._open[fullest]))
                del self._open[fullest][longest_silent]
                self._end(fullest, longest_silent, "connections")
            self._show(socket)

    def ended(self, socket: str, descriptor: int) -> None:
        """A connection is no more."""
        with self._lock:
            self._open[socket].pop(descriptor, None)
            self._show(socket)
            if self._metrics is not None:
                self._metrics.ended.labels(socket).inc()

    def receive(self, zmq_socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
        """One message; raises zmq.Again if none is there, WireError for one so long that its sender is cut off."""
        frames = [zmq_socket.recv(zmq.NOBLOCK, copy=False)]
        while frames[-1].more and len(frames) < MOST_FRAMES:
            frames.append(zmq_socket.recv(zmq.NOBLOCK, copy=False))
        self._hear(frames[-1])
        if frames[-1].more:
            self.cut(zmq_socket, frames[-1], "frame_count")
            dropped = frames[-1]
            while dropped.more:
                dropped = zmq_socket.recv(zmq.NOBLOCK, copy=False)
            raise WireError("frame_count", f"a message of more than {MOST_FRAMES} frames: its sender is cut off")
        return frames

    def cut(self, zmq_socket: zmq.Socket[bytes], frame: zmq.Frame, reason: str) -> None:
        """End the connection that a frame came by, and let nobody in from its host for a while.

        Not twice in a second, for its other frames may be read later; and not once the peer has ended it, when its
        descriptor may be another's.
        """
        socket, peer, descriptor, now = self._names.get(zmq_socket), sender_host(frame), sender(frame), time.monotonic()
        if socket is None or not peer:  # not over a network, or from a peer that speaks ZMTP 1
            return
        with self._lock:
            self._pause(peer)
            if now - self._cut_at.get(descriptor, -CUT_AGAIN_SECONDS) < CUT_AGAIN_SECONDS:
                return
            if host(descriptor) == peer:
                self._cut_at[descriptor] = now
                self._open[socket].pop(descriptor, None)
                self._end(socket, descriptor, reason)

    def look(self) -> None:
        """End what sends messages without an end; called several times a second."""
        if not self._open:
            return
        resident = resident_bytes()
        self._resident = min(self._resident, resident)
        if resident - self._resident < LOOK_AFTER_BYTES:
            return
        self._resident = resident
        with self._lock:
            incomplete = sorted(self._incomplete(), reverse=True)
            excess = sum(size for size, _, _ in incomplete) - INCOMPLETE_BYTES - self.expected_bytes
            for size, socket, descriptor in incomplete:
                if excess <= 0:
                    break
                del self._open[socket][descriptor]
                self._pause(host(descriptor))
                self._end(socket, descriptor, "endless_message")
                excess -= size

    def _incomplete(self) -> Iterator[tuple[int, str, int]]:
        for socket, connections in self._open.items():
            for descriptor, connection in connections.items():
                received = received_bytes(descriptor)
                if connection.is_heard:
                    connection.complete_bytes, connection.is_heard = received, False
                yield received - connection.complete_bytes, socket, descriptor

    def _pause(self, peer: str) -> None:
        now = time.monotonic()
        self._paused_until = {known: until for known, until in self._paused_until.items() if until > now}
        if peer:
            self._paused_until[peer] = now + PAUSE_SECONDS

    def _is_paused(self, peer: str) -> bool:
        return self._paused_until.get(peer, 0.0) > time.monotonic()

    def _hear(self, frame: zmq.Frame) -> None:
        descriptor = sender(frame)
        with self._lock:
            for connections in self._open.values():
                if descriptor in connections:
                    connections.move_to_end(descriptor)
                    connections[descriptor].is_heard = True

    def _end(self, socket: str, descriptor: int, reason: str) -> None:
        with contextlib.suppress(OSError), _borrowed(descriptor) as connection:
            connection.setsockopt(unix_socket.SOL_SOCKET, unix_socket.SO_LINGER, _RESET)
            connection.shutdown(unix_socket.SHUT_RDWR)
        if self._metrics is not None:
            self._metrics.cut.labels(socket, reason).inc()
        if self._limit.allows(f"{socket} {reason}"):
            self._log.warning("connection cut", socket=socket, reason=reason)

    def _show(self, socket: str) -> None:
        if self._metrics is not None:
            self._metrics.open.labels(socket).set(len(self._open[socket]))


def most_connections() -> int:
    """How many there may be with the files that the process may open; `sockets.context` lets it open all."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MOST_CONNECTIONS, soft - SPARE_DESCRIPTORS))


def resident_bytes() -> int:
    """Memory that the process takes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def received_bytes(descriptor: int) -> int:
    """What has come by a tcp connection since it was opened; 0 where that cannot be told."""
    with contextlib.suppress(OSError, struct.error), _borrowed(descriptor) as connection:
        told = connection.getsockopt(unix_socket.IPPROTO_TCP, unix_socket.TCP_INFO, _BYTES_RECEIVED + 8)
        return int(struct.unpack_from("=Q", told, _BYTES_RECEIVED)[0])
    return 0


def host(descriptor: int) -> str:
    """The address of the peer of a tcp connection; empty where that cannot be told, as when it has ended."""
    with contextlib.suppress(OSError), _borrowed(descriptor) as connection:
        return str(connection.getpeername()[0])
    return ""


@contextmanager
def _borrowed(descriptor: int) -> Iterator[unix_socket.socket]:
    """ZeroMQ's own socket, for a moment: it is not closed."""
    connection = unix_socket.socket(fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()


def sender_host(frame: zmq.Frame) -> str:
    """The address that a frame came from; empty if it did not come over a network, or from a peer of ZMTP 1."""
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""


def sender(frame: zmq.Frame) -> int:
    """The file descriptor of the connection that a frame came by, -1 for none."""
    try:
        return int(frame.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError):  # not over a network, or from a peer that speaks ZMTP 1
        return -1
