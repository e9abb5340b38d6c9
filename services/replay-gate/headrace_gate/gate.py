"""The gate itself: what it does on each message. Pure: messages and time come in, messages to send go out.

The socket loop around it is `service.py`. Whoever calls must write `changes()` to the journal before sending `outbox`.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace_gate import account_entries, admission, epochs, turns
from headrace_gate.flaws import flaw
from headrace_gate.learner_account import LearnerAccount, SentBatch
from headrace_gate.ledger import CreditLedger
from headrace_gate.outbox import Outbox
from headrace_gate.rollout_queue import Payload, QueuedRollout, RolloutQueue
from headrace_gate.roster import Roster, Seat
from headrace_proto import messages
from headrace_proto.errors import WireError
from headrace_proto.messages import BatchHeader, Leave, Message, Progress, Session
from headrace_proto.specification import RunSpecification

LEARNER_SILENT_SECONDS = 5.0
"""A learner reports several times a second, except within one update: silent for so long, it is waited for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate bounds, and how long it waits."""

    capacity: int
    straggler_updates: int
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where actors push rollouts and hear weights, as told in WELCOME."""

    transitions: str
    weights: str


class Gate:
    """Credits, queue and batches of one run."""

    def __init__(self, identity: Session, limits: Limits, addresses: Addresses) -> None:
        self.identity = identity
        self.limits = limits
        self.ledger = CreditLedger(limits.capacity)
        self.queue = RolloutQueue(limits.capacity)
        self.roster = Roster(limits.lease_seconds)
        self.learner = LearnerAccount(identity)
        self.outbox = Outbox()
        self.waits: list[float] = []
        self._addresses = addresses
        self._learner_heard_at = -LEARNER_SILENT_SECONDS
        self._learner_is_silent = False

    @property
    def run(self) -> RunSpecification | None:
        """The run as the learner last described it."""
        return None if self.learner.progress is None else self.learner.progress.run

    @property
    def waiting_for(self) -> str:
        """What keeps transitions from flowing, empty if nothing does."""
        if self.learner.progress is None or self._learner_is_silent:
            return "learner"
        if not self.learner.is_greeted:
            return "learner's answer"
        if self.learner.is_finished:
            return "a learner with steps left"
        if not self.roster.seats:
            return "actors"
        return ""

    @property
    def is_capacity_limited(self) -> bool:
        """Whether the learner starves while actors could play if the capacity let them."""
        progress = self.learner.progress
        if self.waiting_for or self.learner.takes_turns or progress is None:
            return False
        return progress.waiting_for == "batch" and not self.learner.untrained and self.roster.waiting > 0

    def on_actor_message(self, session: Session, data: bytes, now: float) -> None:
        """A control message from an actor; raises WireError for one that is refused."""
        if len(session) != messages.SESSION_BYTES:
            raise WireError("malformed", f"a session has {messages.SESSION_BYTES} bytes, not {len(session)}")
        try:
            kind, fields = messages.decode_kind(data)
        except WireError as error:
            if error.reason == "schema":
                self._tell(session, Leave(code="schema", reason=error.detail))
            raise
        if kind == "JOIN":
            self._on_join(session, messages.parse(messages.Join, fields), now)
        elif session not in self.roster.seats:
            self._on_stranger(session, kind)
        elif kind == "CREDIT":
            self._on_credit_request(session, messages.parse(messages.CreditRequest, fields), now)
        elif kind == "HEARTBEAT":
            self._on_heartbeat(session, messages.parse(messages.ActorHeartbeat, fields), now)
        elif kind == "LEAVE":
            self._on_leave(session, now)
        else:
            raise WireError("unexpected", f"an actor does not send {kind}")

    def on_rollout(self, header_bytes: bytes, payload: Payload, now: float) -> None:
        """TRANSITIONS from an actor; raises WireError for a message that stands for no credit."""
        header = messages.decode(messages.RolloutHeader, header_bytes)
        if header.session in self.roster.seats:
            self.roster.hear(header.session, now)
        elif not self.ledger.credits(header.session):
            raise WireError("unknown_session", f"no session of actor {header.actor} is open")
        count = header.count
        if count == 0 and not header.final:
            raise WireError("malformed", "a rollout without transitions closes a credit, or is none")
        credit = self.ledger.check(header.session, header.credit, header.part, count)
        if (reason := flaw(header, payload, credit, self.learner)) is not None:
            self.ledger.reject(header.session, header.credit, header.part, count, reason, final=header.final)
            return
        self.ledger.accept(header.session, header.credit, header.part, count, final=header.final)
        if count:
            self.queue.append(QueuedRollout(count, header_bytes, payload, now))

    def on_progress(self, progress: Progress, now: float) -> bool:
        """PROGRESS from the learner; returns whether a new learner sent it."""
        if self.learner.is_retired(progress.learner):
            return False
        self._learner_heard_at = now
        if progress.run != self.run:
            self._begin_anew(epochs.RUN_CHANGED, progress.env_steps, "the learner now trains another run")
        is_new = self.learner.hear(progress, self.ledger)
        if is_new and self.learner.takes_turns:
            self._begin_anew(epochs.EPOCH, progress.env_steps, "a deterministic run begins an epoch")
        if not self.learner.is_greeted:
            self.outbox.to_learner.append((self._batch_header(None), None))
        return is_new

    def tick(self, now: float) -> list[Seat]:
        """Take back, grant and hand out what time and messages allow; returns the actors that are gone."""
        self._learner_is_silent = now - self._learner_heard_at > LEARNER_SILENT_SECONDS
        gone = self._drop_silent_actors(now)
        self.ledger.lose_in_transit(now - self.limits.lease_seconds)
        if not self.learner.takes_turns:  # whose only credit is overtaken by nothing but its own first rollouts
            self._take_back_stale()
        if self.learner.is_greeted and epochs.disturbance(self.learner, self.ledger, self.roster):
            self.learner.greet_again()
        self._make_batches(now)
        self._grant()
        return gone

    def dismiss_all(self, leave: Leave) -> None:
        """End every session, with a word."""
        for session in list(self.roster.seats):
            self._dismiss(session, leave)

    def forgive(self, seconds: float) -> None:
        """Hold nobody's silence against them: the gate itself did not listen for so long."""
        self.roster.forgive(seconds)
        self.ledger.forgive(seconds)
        self.learner.forgive(seconds)
        self._learner_heard_at += seconds

    def state(self) -> account_entries.Entries:
        """The whole account, which `restore` takes."""
        return account_entries.whole(self.ledger, self.roster, self.learner)

    def changes(self) -> account_entries.Entries:
        """What of the account may have changed since the last call, for the journal; None for what is gone."""
        return account_entries.changed(self.ledger, self.roster, self.learner)

    def restore(self, entries: account_entries.Entries, now: float) -> None:
        """Go on with a predecessor's account; the payloads that it had queued are lost."""
        state = account_entries.parts(entries)
        ledger = CreditLedger.restore(self.limits.capacity, state.ledger)
        ledger.lose_queued("gate_restart")
        roster = Roster.restore(self.limits.lease_seconds, state.roster, now)
        self.learner = LearnerAccount.restore(self.identity, state.batches, state.progress, ledger)
        self.ledger, self.roster = ledger, roster
        # With a smaller capacity than its predecessor's the gate still takes what that one had promised.
        self.queue = RolloutQueue(max(self.limits.capacity, ledger.alive))
        for session in ledger.sessions:
            if session not in roster.seats:
                self._finish_all(session, now)

    def _begin_anew(self, cause: str, env_steps: int, why: str) -> None:
        epochs.begin(cause, env_steps, self.learner, self.ledger, self.queue, self.roster)
        self.dismiss_all(Leave(code="unknown", reason=why))

    def _on_join(self, session: Session, join: messages.Join, now: float) -> None:
        if (leave := admission.refusal(session, self.learner, self.roster)) is not None:
            self._tell(session, leave)
            if leave.reason == admission.FULL:
                raise WireError("no_seat", leave.reason)
            return
        assert self.run is not None
        seat = self.roster.join(session, now)
        welcome = messages.Welcome(
            actor=seat.actor,
            life=seat.life,
            lease_seconds=self.limits.lease_seconds,
            transitions_address=self._addresses.transitions,
            weights_address=self._addresses.weights,
            run=self.run,
        )
        self._tell(session, welcome)

    def _on_stranger(self, session: Session, kind: str) -> None:
        if kind != "LEAVE":
            reason = "the gate does not know this session (any more)"
            self._tell(session, Leave(code="finished" if self.learner.is_finished else "unknown", reason=reason))

    def _on_credit_request(self, session: Session, request: messages.CreditRequest, now: float) -> None:
        seat = self.roster.hear(session, now)
        self.ledger.finish(session, request.finished, now)
        if request.credit in self.ledger.credits(session):
            self._tell_granted(session, request.credit)
        elif request.credit > seat.last_granted and self.run is not None:
            self.roster.ask(session, request.credit, min(request.count, self.run.credit_per_round))
        elif self.roster.asks_in_vain(session, now):
            self._dismiss(session, Leave(code="unknown", reason="somebody else has used this session's credit"))

    def _on_heartbeat(self, session: Session, heartbeat: messages.ActorHeartbeat, now: float) -> None:
        self.roster.hear(session, now)
        self.ledger.finish(session, heartbeat.finished, now)
        self._tell(session, messages.GateHeartbeat(waiting_for=self.waiting_for))

    def _on_leave(self, session: Session, now: float) -> None:
        self.roster.leave(session)
        self._finish_all(session, now)

    def _finish_all(self, session: Session, now: float) -> None:
        for number in self.ledger.credits(session):
            self.ledger.finish(session, number, now)

    def _drop_silent_actors(self, now: float) -> list[Seat]:
        gone = [self._unseat(session) for session in self.roster.expired(now)]
        return [seat for seat in gone if seat is not None]

    def _dismiss(self, session: Session, leave: Leave) -> None:
        self._unseat(session)
        self._tell(session, leave)

    def _unseat(self, session: Session) -> Seat | None:
        self.ledger.close_session(session, "actor_gone")
        return self.roster.leave(session)

    def _take_back_stale(self) -> None:
        for session, credit in self.ledger.take_back_stale(self.learner.version, self.limits.straggler_updates):
            self.roster.grant_again(session, credit)

    def _make_batches(self, now: float) -> None:
        while self.run is not None and self.learner.takes_batches:
            taken = self.queue.take_batch(self.run.batch_size)
            if taken is None and turns.is_learners(self.learner, self.ledger, self.roster):
                taken = self.queue.take_all()
            if taken is None:
                break
            batch = self.learner.next_batch(taken)
            self.ledger.deliver(batch.count)
            self.waits += [now - rollout.arrived_at for rollout in taken]
        if self.learner.is_greeted:
            self.learner.resend_lost(now - self.limits.lease_seconds)
            for batch in self.learner.unsent:
                batch.sent, batch.sent_at = True, now
                self.outbox.to_learner.append((self._batch_header(batch), batch))

    def _grant(self) -> None:
        while turns.may_grant(self.learner, self.ledger):
            first = self.roster.first_in_line()
            if first is None or first[1].asked_count > self.ledger.room:
                return
            session, seat = first
            self.ledger.grant(session, seat.asked_credit, seat.asked_count, self.learner.version, self.learner.weights)
            self.roster.grant_first()
            self._tell_granted(session, seat.asked_credit)

    def _tell_granted(self, session: Session, number: int) -> None:
        credit = self.ledger.credits(session)[number]
        generation, version = credit.weights
        grant = messages.CreditGrant(credit=number, count=credit.count, generation=generation, weights_version=version)
        self._tell(session, grant)

    def _batch_header(self, batch: SentBatch | None) -> BatchHeader:
        assert self.learner.progress is not None
        return BatchHeader(
            gate=self.identity,
            learner=self.learner.progress.learner,
            generation=self.learner.generation,
            batch=0 if batch is None else batch.number,
            rollouts=0 if batch is None else len(batch.rollouts),
            count=0 if batch is None else batch.count,
            version=self.learner.version,
            capacity=self.limits.capacity,
            straggler_updates=self.limits.straggler_updates,
        )

    def _tell(self, session: Session, message: Message) -> None:
        self.outbox.to_actors.append((session, message))
