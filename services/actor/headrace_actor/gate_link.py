"""The link to the gate: a DEALER for credit and heartbeats, a PUSH for rollouts."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator

import zmq

from headrace_actor.session import ASK_AGAIN_SECONDS, Refused, Session, SessionLost, ended
from headrace_proto import messages
from headrace_proto.errors import WireError
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import Join, Leave, Message, RolloutHeader, Welcome
from headrace_proto.rollouts import Rollout
from headrace_proto.sockets import ServiceSockets, reachable
from headrace_proto.weights import Weights

SEND_POLL_SECONDS = 0.1


class GateLink:
    """One session at the gate, from JOIN to LEAVE; a new one needs a new link.

    Malformed messages are logged at a limited rate and ignored. Every method may raise `SessionLost` or
    `RunFinished`, as the gate says, and `Refused` if the gate is of another release.
    """

    def __init__(self, service_sockets: ServiceSockets, address: str, log: Logger) -> None:
        """Connect in the background; raises UserError for an unusable address."""
        self.identity = new_session_id()
        self.not_ready_reason = ""
        self.sent_transitions = 0
        self._log = log
        self._limit = RateLimit()
        self._address = address
        self._sockets = service_sockets
        self._join_due = 0.0
        self._push: zmq.Socket[bytes] | None = None
        self._dealer = service_sockets.make(zmq.DEALER)
        self._dealer.routing_id = self.identity
        service_sockets.connect(self._dealer, address, "gate-address", server="gate")

    def try_join(self, timeout_seconds: float) -> Welcome | None:
        """Ask to be taken in, every second anew, and wait a moment for the answer."""
        self._sockets.reconnect_refused()
        now = time.monotonic()
        if now >= self._join_due:
            self._join_due = now + ASK_AGAIN_SECONDS
            self._send(Join(host=socket.gethostname()[:255]))
        if not self._dealer.poll(round(timeout_seconds * 1000)):
            return None
        try:
            return self._answer(self._dealer.recv_multipart())
        except WireError as error:
            if error.reason == "schema":
                raise Refused(f"--gate-address {self._address}: {error.detail}") from error
            self._ignore(error)
            return None

    def open(self, welcome: Welcome) -> None:
        """Begin the session that the gate has granted."""
        self.session = Session(welcome.lease_seconds, time.monotonic())
        self._actor = welcome.actor
        self._push = self._sockets.make(zmq.PUSH)
        address = self.reachable(welcome.transitions_address)
        self._sockets.connect(self._push, address, "transitions-address", server="gate")

    def reachable(self, address: str) -> str:
        """An address of WELCOME as this actor can reach it."""
        return reachable(address, by=self._address)

    def exchange(self, timeout_seconds: float = 0.0) -> None:
        """Hear what the gate says, waiting at most so long for it, and say what is due."""
        self._sockets.reconnect_refused()
        now = self._say_what_is_due()
        if timeout_seconds:
            wait = min(timeout_seconds, self.session.seconds_until_due(now))
            self._dealer.poll(max(1, round(wait * 1000)))
        while (frames := self._receive()) is not None:
            try:
                self.session.receive(_only(frames), time.monotonic())
            except WireError as error:
                self._ignore(error)
        self.session.check_lease(self._say_what_is_due())

    def transitions(self, credit: int, weights: Weights, rollouts: list[Rollout]) -> Iterator[tuple[list[bytes], int]]:
        """TRANSITIONS and their counts for all played against a credit; the last one gives back what is left over."""
        for part, rollout in enumerate(rollouts):
            final = part == len(rollouts) - 1
            header = self._header(credit, part, len(rollout), weights.age_key, final)
            yield [header.encode(), rollout.encode()], len(rollout)
        if not rollouts:
            yield self.nothing(credit, weights.age_key), 0

    def nothing(self, credit: int, weights: tuple[int, int]) -> list[bytes]:
        """TRANSITIONS that gives a whole credit back, which `weights`, generation and version, were wanted for."""
        return [self._header(credit, 0, 0, weights, final=True).encode(), b""]

    def try_push(self, frames: list[bytes], count: int) -> bool | None:
        """Send one message of `count` transitions: True once on its way, None after a moment without room."""
        assert self._push is not None
        try:
            self._push.send_multipart(frames, zmq.NOBLOCK)
            self.sent_transitions += count
            return True
        except zmq.Again:
            self._push.poll(round(SEND_POLL_SECONDS * 1000), zmq.POLLOUT)
            self.exchange()
            return None

    def leave(self, reason: str) -> None:
        """Say goodbye, so that the gate need not wait for the lease to end."""
        self._send(Leave(code="goodbye", reason=reason[:1000]))

    def close(self) -> None:
        """Close the sockets; what was sent still goes out for a moment."""
        self._dealer.close()
        if self._push is not None:
            self._push.close()

    def _answer(self, frames: list[bytes]) -> Welcome | None:
        kind, fields = messages.decode_kind(_only(frames))
        if kind == Welcome.kind:
            return messages.parse(Welcome, fields)
        if kind != Leave.kind:
            raise WireError("unexpected", f"a gate does not answer JOIN with {kind}")
        leave = messages.parse(Leave, fields)
        end = ended(leave)
        if not isinstance(end, SessionLost):
            raise end
        self.not_ready_reason = leave.reason
        return None

    def _say_what_is_due(self) -> float:
        now = time.monotonic()
        for message in self.session.due(now):
            self._send(message)
        return now

    def _send(self, message: Message) -> None:
        try:
            self._dealer.send(message.encode(), zmq.NOBLOCK)
        except zmq.Again:
            # The gate reads nothing: the lease will end, and what matters is said again anyway.
            if self._limit.allows("full"):
                self._log.warning("the gate does not read its messages", kind=message.kind)

    def _receive(self) -> list[bytes] | None:
        try:
            return self._dealer.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def _header(self, credit: int, part: int, count: int, weights: tuple[int, int], final: bool) -> RolloutHeader:
        generation, version = weights
        return RolloutHeader(
            session=self.identity,
            actor=self._actor,
            credit=credit,
            part=part,
            final=final,
            count=count,
            generation=generation,
            weights_version=version,
        )

    def _ignore(self, error: WireError) -> None:
        if self._limit.allows(error.reason):
            self._log.warning("message ignored", reason=error.reason, detail=error.detail)


def new_session_id() -> messages.Session:
    """16 random bytes; ZeroMQ keeps ids that begin with a zero byte for itself."""
    return bytes([1 + secrets.randbelow(255)]) + secrets.token_bytes(messages.SESSION_BYTES - 1)


def _only(frames: list[bytes]) -> bytes:
    if len(frames) != 1:
        raise WireError("frame_count", f"a control message has one frame, not {len(frames)}")
    return frames[0]
