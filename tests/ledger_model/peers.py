"""The gate's peers: an actor around the real `Session`, and a learner that keeps the wire's specification."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from headrace_actor.session import ASK_AGAIN_SECONDS, Session, SessionLost
from headrace_proto import messages
from headrace_proto.messages import BatchHeader, CreditGrant, Join, Message, Progress, RolloutHeader, Welcome
from headrace_proto.specification import RunSpecification


@dataclass(slots=True)
class Actor:
    """One session of an actor, from JOIN on; `grant` is the credit that it is about to play."""

    identity: messages.Session
    session: Session | None = None
    grant: CreditGrant | None = None
    join_due: float = 0.0

    def has_to_say(self, now: float) -> bool:
        """Whether something is due, an end of the session included."""
        if self.session is None:
            return now >= self.join_due
        return self.session.seconds_until_due(now) == 0 or self._is_forgotten(now)

    def speak(self, run: RunSpecification, now: float) -> list[Message]:
        """What is due; raises SessionLost if the gate has been silent for a lease."""
        if self.session is None:
            self.join_due = now + ASK_AGAIN_SECONDS
            return [Join(host="model")]
        self.session.check_lease(now)
        if self.grant is None:
            self.session.ask(run.credit_per_round, now)
        return _in_one_breath(self.session.due(now))

    def hear(self, message: Message, run: RunSpecification, now: float) -> None:
        """Act on what the gate says, which asks in vain who is not taken in; raises SessionLost where it ends."""
        if self.session is not None:
            self.session.receive(message.encode(), now)
            self.grant = self.grant or self.session.take_grant()
        elif isinstance(message, Welcome):
            self.session = Session(message.lease_seconds, now)
            self.session.ask(run.credit_per_round, now)

    def play(self, lengths: tuple[int, ...], run: RunSpecification, now: float) -> list[Message]:
        """Ask for the next credit, play a round of rollouts of these lengths against this one, and finish it."""
        assert self.session is not None
        assert self.grant is not None
        self.session.ask(run.credit_per_round, now)
        said = _in_one_breath(self.session.due(now))
        for part, count in enumerate(lengths or (0,)):
            said.append(self._header(self.grant, part, count, final=part + 1 == len(lengths or (0,))))
        self.session.finish(self.grant.credit)
        self.grant = self.session.take_grant()
        return said

    def _header(self, grant: CreditGrant, part: int, count: int, *, final: bool) -> RolloutHeader:
        return RolloutHeader(
            session=self.identity,
            actor=0,
            credit=grant.credit,
            part=part,
            final=final,
            count=count,
            generation=grant.generation,
            weights_version=grant.weights_version,
        )

    def _is_forgotten(self, now: float) -> bool:
        with contextlib.suppress(SessionLost):
            if self.session is not None:
                self.session.check_lease(now)
            return False
        return True


def _in_one_breath(said: list[Message]) -> list[Message]:
    """A request says all that a heartbeat does, and then stands for both."""
    return said[:1]


@dataclass(slots=True)
class Learner:
    """A learner process: takes what it is sent in the order of arrival, publishes after each update."""

    name: messages.Session
    inbox: tuple[BatchHeader, ...] = ()
    gate: messages.Session = bytes(messages.SESSION_BYTES)
    generation: int = 0
    version: int = 0
    received: int = 0
    trained_batch: int = 0
    trained: int = 0
    waiting_for: str = "gate"

    def hear(self, header: BatchHeader) -> None:
        """Take in a greeting or a batch, unless it is another's or came before."""
        if header.learner != self.name or 0 < header.batch <= self.received:
            return
        self.received = max(self.received, header.batch)
        self.inbox = (*self.inbox, header)

    def work(self, *, has_epochs: bool) -> bool:
        """Be greeted, or train a batch, or drop one of a gate that is gone; returns whether an epoch is over."""
        header, self.inbox = self.inbox[0], self.inbox[1:]
        is_from_my_gate = (header.gate, header.generation) == (self.gate, self.generation)
        if header.rollouts:
            if is_from_my_gate:
                self.version += 1
                self.trained += header.count
            self.trained_batch = max(self.trained_batch, header.batch)
            self.waiting_for = "" if self.inbox else "batch"
        elif not is_from_my_gate:
            if has_epochs and self.generation:
                return True
            self.gate, self.generation = header.gate, header.generation
            self.version = max(self.version, header.version)
            self.waiting_for = "batch"
        return False

    def progress(self, run: RunSpecification) -> Progress:
        """What it reports."""
        return Progress.model_construct(
            learner=self.name,
            gate=self.gate,
            generation=self.generation,
            version=self.version,
            published_version=self.version,
            env_steps=self.trained,
            received_batch=self.received,
            trained_batch=self.trained_batch,
            trained=self.trained,
            rejected={},
            run=run,
            waiting_for=self.waiting_for,
            finished=False,
        )
