"""What a peer can do to the services that means them ill: each attack is one round, to be gone through again and again.

Every target is attacked from a host of its own, a loopback address, for an offence makes its whole host wait outside.

`Let in` is who holds an actor's keys, or anybody where there are none; `raw` is who only reaches a port.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import curve_by_hand
import numpy as np
import zmq
from made_up import a_header, a_rollout

from headrace_proto import logs, messages
from headrace_proto.messages import (
    SESSION_BYTES,
    WEIGHTS_TOPIC,
    CreditGrant,
    CreditRequest,
    Join,
    Leave,
    Message,
    Welcome,
)
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification

LONG_FRAME, HUGE_FRAME = bytes(4 * 1024**2), bytes(60 * 1024**2)
MANY_CONNECTIONS = 5_000
HALF_OPEN = 200
FAR_CREDIT = 2**40
PATIENCE_SECONDS = 60.0
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)


_hosts = (f"127.0.{high}.{low}" for high in count(1) for low in range(1, 255))


@dataclass(slots=True)
class Target:
    """Where the services are, and the folder of keys that was stolen; None where there are none."""

    addresses: dict[str, str]
    keys: Path | None = None
    host: str = field(default_factory=lambda: next(_hosts))
    held: list[socket.socket] = field(default_factory=list)

    @property
    def guarded(self) -> list[str]:
        """The sockets of which something is promised: without keys PUSH gives batches to whoever connects."""
        return [name for name in self.addresses if name != "batches" or self.keys is not None]

    def let_go(self) -> None:
        """Close what is held open."""
        for connection in self.held:
            connection.close()
        self.held.clear()

    def address(self, name: str) -> str:
        """Where a socket is, and from where to connect to it, as zmq_tcp(7) has it."""
        return self.addresses[name].replace("tcp://", f"tcp://{self.host}:0;")

    def raw(self, name: str) -> socket.socket:
        """A tcp connection."""
        host, _, port = self.addresses[name].removeprefix("tcp://").rpartition(":")
        return socket.create_connection((host, int(port)), PATIENCE_SECONDS, source_address=(self.host, 0))

    def ready(self, name: str, socket_type: bytes) -> socket.socket:
        """A connection after the handshake of ZMTP 3 without keys (RFC 23)."""
        connection = self.raw(name)
        try:
            connection.sendall(GREETING)
            _receive(connection, 64)
            body = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type
            connection.sendall(b"\x04" + bytes([len(body)]) + body)
            _, length = _receive(connection, 2)
            _receive(connection, length)
        except OSError:
            connection.close()
            raise
        return connection


def _receive(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        more = connection.recv(count - len(received))
        if not more:
            raise ConnectionError("the other side has ended the connection")
        received += more
    return received


class Intruder:
    """An actor's sockets, with which anything can be said."""

    def __init__(self, target: Target, session: bytes | None = None) -> None:
        settings = ActorSettings(keys=target.keys, insecure=target.keys is None)
        self.sockets = ServiceSockets("actor", settings, logs.configure("intruder", "critical"))
        self.session = session or b"\1" + os.urandom(messages.SESSION_BYTES - 1)
        self.dealer = self.sockets.make(zmq.DEALER)
        self.dealer.routing_id = self.session
        self.push = self.sockets.make(zmq.PUSH)
        self.sockets.connect(self.dealer, target.address("control"), "gate-address", server="gate")
        self.sockets.connect(self.push, target.address("transitions"), "transitions-address", server="gate")
        for each in (self.dealer, self.push):
            each.sndtimeo = round(PATIENCE_SECONDS * 1000)
            each.maxmsgsize = -1

    def close(self) -> None:
        """Send what is under way."""
        self.sockets.close(linger=round(PATIENCE_SECONDS * 1000))

    def hear(self, kind: type[messages.MessageT]) -> messages.MessageT:
        """The next message of a kind; raises TimeoutError if there is none."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.dealer.poll(max(0, round(1000 * (deadline - time.monotonic())))):
            name, fields = messages.decode_kind(self.dealer.recv())
            if name == kind.kind:
                return messages.parse(kind, fields)
        raise TimeoutError(f"no {kind.kind}")

    def say(self, message: Message) -> None:
        """A control message."""
        self.dealer.send(message.encode())

    def join(self) -> RunSpecification:
        """Be taken in, as an actor is."""
        self.say(Join(host="intruder"))
        return self.hear(Welcome).run

    def credit(self, number: int, count: int) -> CreditGrant:
        """Ask for credit and wait for it."""
        self.say(CreditRequest(credit=number, count=count, finished=number - 1))
        return self.hear(CreditGrant)

    def leave(self) -> None:
        """Go, as an honest actor does."""
        self.say(Leave(code="goodbye", reason=""))

    def play(self, grant: CreditGrant, payload: bytes, **changes: Any) -> None:
        """Send a payload against a credit."""
        fields: dict[str, Any] = {
            "count": grant.count,
            "session": self.session,
            "credit": grant.credit,
            "generation": grant.generation,
            "weights_version": grant.weights_version,
            **changes,
        }
        header = a_header(**fields)
        self.push.send_multipart([header.encode(), payload])


@contextlib.contextmanager
def intruder(target: Target) -> Iterator[Intruder]:
    """One that is closed at the end."""
    with closing(Intruder(target)) as made:
        yield made


def garbage(target: Target) -> None:
    """Random bytes, as messages and as connections."""
    with intruder(target) as one:
        for _ in range(1000):
            one.push.send_multipart([os.urandom(40), b""])
            one.dealer.send(os.urandom(40))
    for name in target.guarded:
        with contextlib.suppress(OSError), target.raw(name) as connection:
            connection.sendall(os.urandom(4096))
            connection.recv(64)


def at_once() -> None:
    """When an attacker goes, who else stays until something is so."""


def long_frames(target: Target, go: Callable[[], None] = at_once) -> None:
    """A header and a control message of 4 MiB."""
    with intruder(target) as one:
        one.push.send_multipart([LONG_FRAME, b""], copy=False)
        one.dealer.send(LONG_FRAME, copy=False)
        go()


def huge_frames(target: Target, go: Callable[[], None] = at_once) -> None:
    """A header and a control message of 60 MiB, and a frame that says it has a terabyte."""
    with intruder(target) as one:
        one.push.send_multipart([HUGE_FRAME, b""], copy=False)
        one.dealer.send(HUGE_FRAME, copy=False)
        go()
    if target.keys is None:
        with contextlib.suppress(OSError), target.ready("transitions", b"PUSH") as connection:
            connection.sendall(b"\x02" + struct.pack(">Q", 2**40))
            connection.recv(1)


def many_frames(target: Target, go: Callable[[], None] = at_once) -> None:
    """A message of a hundred thousand frames."""
    with intruder(target) as one:
        one.push.send_multipart([b""] * 100_000)
        go()


def endless_frames(target: Target) -> None:
    """Frames that each say that another one follows, until the connection is cut; the peer must know no keys."""
    with contextlib.suppress(ConnectionError), target.ready("transitions", b"PUSH") as connection:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            connection.sendall(b"\x01\x00" * 100_000)
        raise TimeoutError("nobody minds a message without an end")


def lies_about_what_was_played(target: Target) -> None:
    """Rollouts with credit: of wrong shapes, with rewards that are NaN or huge, with a payload beyond its limit."""
    with intruder(target) as one:
        run = one.join()
        length = run.rollout_length
        good = a_rollout(run, length)
        lies = [
            a_rollout(run, length, frames=good.frames[..., :-1]).encode(),
            a_rollout(run, length, rewards=np.full(length, np.nan, np.float32)).encode(),
            a_rollout(run, length, rewards=np.full(length, 3e38, np.float32)).encode(),
            bytes(1_000_000),
        ]
        for number, lie in enumerate(lies, start=1):
            one.play(one.credit(number, length), lie)
        one.leave()


def replays(target: Target) -> None:
    """The same part twice, a credit long used, more than a credit has, a part that no credit has."""
    with intruder(target) as one:
        run = one.join()
        payload = a_rollout(run, 1).encode()
        grant = one.credit(1, 2)
        one.play(grant, payload, count=1, final=False)
        for changes in ({"count": 1}, {"part": 1, "count": 2}, {"part": 2**40, "count": 0}, {"credit": 9}):
            one.play(grant, payload, **changes)
        one.play(grant, b"", part=1, count=0)
        one.leave()


def poses_as_others(target: Target) -> None:
    """Rollouts in a session that is not its own; the learner's Progress over an actor's socket."""
    with intruder(target) as one, intruder(target) as stranger:
        run = one.join()
        grant = one.credit(1, 1)
        stranger.play(grant, a_rollout(run, 1).encode(), session=os.urandom(messages.SESSION_BYTES))
        one.dealer.send(a_progress_kind())
        one.leave()


def takes_over(target: Target, session: bytes, *, leaves: bool) -> None:
    """Be a session that an actor has, of which its name is known: each time its connection is lost to this one.

    Asks for credit far beyond what the actor will ask for, says that all before is finished, and plays against what it
    has; then says goodbye, or not.
    """
    for number in range(FAR_CREDIT, FAR_CREDIT + 5):
        with closing(Intruder(target, session)) as one:
            one.say(CreditRequest(credit=number, count=1, finished=number - 1))
            grant = CreditGrant(credit=number - 1, count=1, generation=1, weights_version=2**40)
            one.play(grant, b"")
            if leaves:
                one.leave()


def half_open_handshakes(target: Target) -> None:
    """Connections that begin to say who they are, and stop: within the greeting, every third at a socket after it."""
    greeting = GREETING if target.keys is None else curve_by_hand.GREETING
    for place in range(HALF_OPEN):
        turn, which = divmod(place, len(target.guarded))
        connection = target.raw(target.guarded[which])
        connection.sendall(greeting if turn % 3 == 0 else greeting[: place % len(greeting)])
        target.held.append(connection)


def many_connections(target: Target, number: int = MANY_CONNECTIONS) -> None:
    """As many as the issue of this attack says, held open; without keys each ends its handshake."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for place in range(number):
        with contextlib.suppress(ConnectionError, TimeoutError):
            if target.keys is None:
                connection = target.ready(*(("control", b"DEALER"), ("transitions", b"PUSH"))[place % 2])
            else:
                connection = target.raw(("control", "transitions")[place % 2])
            target.held.append(connection)


def talks_to_a_publisher(target: Target, go: Callable[[], None] = at_once) -> None:
    """What is no subscription, on the learner's socket."""
    with intruder(target) as one, one.sockets.make(zmq.XSUB) as subscriber:
        one.sockets.connect(subscriber, target.address("weights"), "weights-address", server="learner")
        subscriber.sndtimeo = subscriber.linger = round(PATIENCE_SECONDS * 1000)
        for _ in range(1000):
            subscriber.send(b"hear me")
        go()


def asks_without_end(target: Target, go: Callable[[], None] = at_once) -> None:
    """Questions for weights, each under another topic, which an actor has one of."""
    with intruder(target) as one, one.sockets.make(zmq.XSUB) as subscriber:
        one.sockets.connect(subscriber, target.address("weights"), "weights-address", server="learner")
        subscriber.sndtimeo = subscriber.linger = round(PATIENCE_SECONDS * 1000)
        for _ in range(1000):
            subscriber.send(b"\x01" + WEIGHTS_TOPIC + secrets.token_bytes(SESSION_BYTES))
        go()


def a_progress_kind() -> bytes:
    """A message of the learner's kind with an actor's fields."""
    return Leave(code="goodbye", reason="").encode().replace(b"\xa5LEAVE", b"\xa8PROGRESS")


ATTACKS: dict[str, Callable[[Target], None]] = {
    "garbage": garbage,
    "long frames": long_frames,
    "huge frames": huge_frames,
    "many frames": many_frames,
    "endless frames": endless_frames,
    "wrong shapes, NaN rewards": lies_about_what_was_played,
    "replayed numbers": replays,
    "others' identities": poses_as_others,
    "half-open handshakes": half_open_handshakes,
    "5,000 connections": many_connections,
    "talk on the learner's socket": talks_to_a_publisher,
    "questions for weights": asks_without_end,
}
