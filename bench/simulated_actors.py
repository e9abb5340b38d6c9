"""Any number of actors in one process: the session and the sockets of each are real, and they play in no time.

Each has a DEALER and a PUSH of its own, as actors have, and the session of the actor's service. At saturation each asks
for its next credit as soon as it has used the last.
"""

from __future__ import annotations

import secrets
import select
import time
from collections.abc import Sequence
from typing import Any

import zmq

from headrace_actor.gate_link import new_session_id
from headrace_actor.session import ASK_AGAIN_SECONDS, Session
from headrace_proto import messages, sockets
from headrace_proto.messages import Join, Message, RolloutHeader, Welcome

LOOK_SECONDS = 0.05
FEW_ENOUGH_JOINING = 50
"""Actors that join at once: a gate takes in so many within a moment."""


class SimulatedActor:
    """One actor; `used` counts the credits that it has used up."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], control: str, payload_bytes: int) -> None:
        self.used = 0
        self._context = context
        self._identity = new_session_id()
        self._payload = secrets.token_bytes(payload_bytes)
        self._join_due = 0.0
        self._session: Session | None = None
        self._push: zmq.Socket[bytes]
        self._welcome: Welcome
        self.dealer = context.socket(zmq.DEALER)
        self.dealer.routing_id = self._identity
        self.dealer.connect(control)

    @property
    def has_joined(self) -> bool:
        """Whether it is seated."""
        return self._session is not None

    def speak(self, now: float) -> None:
        """Say what is due, and hear what has come: a socket's descriptor tells of it only once."""
        if self._session is None and now >= self._join_due:
            self._join_due = now + ASK_AGAIN_SECONDS
            self._send([Join(host="simulated")])
        self._say_what_is_due(now)
        while self._hear(now):
            self._say_what_is_due(now)

    def _say_what_is_due(self, now: float) -> None:
        if self._session is not None:
            self._send(self._session.due(now))

    def _hear(self, now: float) -> bool:
        try:
            data = self.dealer.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        if self._session is None:
            self._join(data, now)
        else:
            self._session.receive(data, now)
            self._play(self._session, now)
        return True

    def _join(self, data: bytes, now: float) -> None:
        kind, fields = messages.decode_kind(data)
        if kind != Welcome.kind:
            return
        self._welcome = messages.parse(Welcome, fields)
        self._session = Session(self._welcome.lease_seconds, now)
        self._push = self._context.socket(zmq.PUSH)
        self._push.connect(self._welcome.transitions_address)
        self._session.ask(self._welcome.run.credit_per_round, now)

    def _play(self, session: Session, now: float) -> None:
        grant = session.take_grant()
        if grant is None:
            return
        run = self._welcome.run
        for part in range(run.environments_per_actor):
            header = RolloutHeader(
                session=self._identity,
                actor=self._welcome.actor,
                credit=grant.credit,
                part=part,
                final=part == run.environments_per_actor - 1,
                count=run.rollout_length,
                generation=grant.generation,
                weights_version=grant.weights_version,
            )
            self._push.send_multipart([header.encode(), self._payload])
        session.finish(grant.credit)
        self.used += 1
        session.ask(run.credit_per_round, now)

    def _send(self, due: Sequence[Message]) -> None:
        for message in due:
            self.dealer.send(message.encode(), zmq.NOBLOCK)


def play(control: str, count: int, payload_bytes: int, used: Any) -> None:
    """Be `count` actors for ever; `used` is an array shared with who started this, of the credits each has used up."""
    context = sockets.context()
    context.set(zmq.MAX_SOCKETS, 2 * count + 16)
    poller = select.epoll()
    actors: list[SimulatedActor] = []
    by_descriptor: dict[int, SimulatedActor] = {}
    looked = 0.0
    while True:
        now = time.monotonic()
        if len(actors) < count and sum(not actor.has_joined for actor in actors[-FEW_ENOUGH_JOINING:]) == 0:
            for _ in range(min(FEW_ENOUGH_JOINING, count - len(actors))):
                actor = SimulatedActor(context, control, payload_bytes)
                actors.append(actor)
                descriptor = int(actor.dealer.fd)
                by_descriptor[descriptor] = actor
                poller.register(descriptor, select.EPOLLIN)
        for descriptor, _ in poller.poll(LOOK_SECONDS):
            by_descriptor[descriptor].speak(now)
        if now - looked >= LOOK_SECONDS:
            looked = now
            for actor in actors:
                actor.speak(now)
            used[:] = [actor.used for actor in actors] + [0] * (count - len(actors))
