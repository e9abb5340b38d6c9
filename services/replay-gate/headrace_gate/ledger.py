"""The credit ledger: where every transition that was ever promised to an actor is now.

promised = returned + trained + rejected + lost + alive, and alive = outstanding + queued + delivered <= capacity.

A promise counts as alive from its grant, since its transitions may exist from then on. Pure: no sockets, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace_proto.errors import HeadraceError, WireError
from headrace_proto.messages import Session

_TOTALS = (
    *("queued", "delivered", "promised_total", "returned_total", "accepted_total", "trained_total"),
    "lost_before_epoch",
)


class LedgerError(HeadraceError):
    """An entry that would break the ledger's equation: a defect of the gate, never a peer's doing."""


@dataclass(slots=True)
class Credit:
    """A promise of `count` transitions to one session; `parts` are the rollouts that have arrived against it.

    `weights` are the generation and version of the oldest weights that it may be played with.
    """

    count: int
    granted_at_version: int
    weights: tuple[int, int]
    arrived: int = 0
    parts: set[int] = field(default_factory=set)
    final_part: int | None = None
    finished_at: float | None = None

    @property
    def remaining(self) -> int:
        """Transitions promised and not arrived."""
        return self.count - self.arrived

    @property
    def is_complete(self) -> bool:
        """Whether every rollout of the credit has arrived."""
        return self.final_part is not None and len(self.parts) == self.final_part + 1


class CreditLedger:
    """Counts transitions through grant, arrival, delivery and training, and refuses to pass `capacity`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queued = 0
        self.delivered = 0
        self.outstanding = 0
        self.promised_total = 0
        self.returned_total = 0
        self.accepted_total = 0
        self.trained_total = 0
        self.rejected: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.lost_before_epoch = 0
        self.changed: set[Session] = set()
        """Sessions whose credits changed, until whoever keeps the journal clears it."""
        self._credits: dict[Session, dict[int, Credit]] = {}

    @property
    def alive(self) -> int:
        """Transitions promised, queued, or with the learner."""
        return self.outstanding + self.queued + self.delivered

    @property
    def room(self) -> int:
        """Transitions that may be granted now; negative only after a restart with a smaller capacity."""
        return self.capacity - self.alive

    @property
    def sessions(self) -> list[Session]:
        """Sessions with open credits."""
        return list(self._credits)

    def credits(self, session: Session) -> dict[int, Credit]:
        """The open credits of a session, by number."""
        return self._credits.get(session, {})

    def grant(self, session: Session, number: int, count: int, version: int, weights: tuple[int, int] = (0, 0)) -> None:
        """Promise `count` transitions; `version` is the learner's as the gate knows it, `weights` its newest."""
        if not 1 <= count <= self.room:
            raise LedgerError(f"a grant of {count} with room for {self.room}")
        if number in self.credits(session):
            raise LedgerError(f"credit {number} was granted already")
        self._credits.setdefault(session, {})[number] = Credit(count, version, weights)
        self.changed.add(session)
        self.outstanding += count
        self.promised_total += count

    def check(self, session: Session, number: int, part: int, count: int) -> Credit:
        """The credit that a rollout may be sent against; raises WireError for one that has none."""
        credit = self.credits(session).get(number)
        if credit is None:
            raise WireError("revoked_credit", f"credit {number} is not open: taken back, or closed")
        if part > credit.count:  # each rollout but an empty last one has a transition, so that `parts` is bounded
            raise WireError("over_credit", f"part {part} of credit {number}, which has {credit.count} transitions")
        if part in credit.parts:
            raise WireError("duplicate", f"part {part} of credit {number} came before")
        if count > credit.remaining:
            raise WireError("over_credit", f"{count} transitions against {credit.remaining} of credit {number}")
        return credit

    def accept(self, session: Session, number: int, part: int, count: int, *, final: bool) -> None:
        """A rollout arrived and is queued; raises WireError for one without credit."""
        self._arrive(session, number, part, count, final=final)
        self.queued += count
        self.accepted_total += count

    def reject(self, session: Session, number: int, part: int, count: int, reason: str, *, final: bool) -> None:
        """A rollout arrived that stands for credit but cannot be used; raises WireError for one without credit."""
        self._arrive(session, number, part, count, final=final)
        self.rejected[reason] += count

    def deliver(self, count: int) -> None:
        """A batch left the queue for the learner."""
        self._require(count, self.queued, "queued")
        self.queued -= count
        self.delivered += count

    def train(self, trained: int, rejected: dict[str, int]) -> None:
        """The learner is done with delivered transitions: trained, or refused by reason."""
        self._require(trained + sum(rejected.values()), self.delivered, "delivered")
        self.delivered -= trained + sum(rejected.values())
        self.trained_total += trained
        self.rejected.update(rejected)

    def lose_delivered(self, count: int, cause: str) -> None:
        """Delivered transitions vanished on their way to the learner."""
        self._require(count, self.delivered, "delivered")
        self.delivered -= count
        self.lost[cause] += count

    def lose_queued(self, cause: str) -> None:
        """All queued transitions vanished: their payloads died with a gate."""
        if self.queued:
            self.lost[cause] += self.queued
        self.queued = 0

    def take_back_stale(self, version: int, straggler_updates: int) -> list[tuple[Session, int]]:
        """Reject what credits still owe that saw `straggler_updates` updates go by; returns those credits."""
        stale = [
            (session, number)
            for session, number, credit in self._all()
            if version - credit.granted_at_version >= straggler_updates
        ]
        for session, number in stale:
            self._close(session, number, self.rejected, "stale")
        return stale

    def finish(self, session: Session, finished: int, now: float) -> None:
        """The actor will send nothing more for credits up to `finished`: what is missing is in transit, or lost."""
        for number, credit in self.credits(session).items():
            if number <= finished and credit.finished_at is None:
                credit.finished_at = now

    def lose_in_transit(self, before: float) -> int:
        """Count as lost what was finished before a time and has not arrived; returns the transitions."""
        missing = [
            (session, number)
            for session, number, credit in self._all()
            if credit.finished_at is not None and credit.finished_at <= before
        ]
        return sum(self._close(session, number, self.lost, "transport") for session, number in missing)

    def forgive(self, seconds: float) -> None:
        """Prolong the time that rollouts have to arrive: the gate itself did not listen for so long."""
        for _, _, credit in self._all():
            if credit.finished_at is not None:
                credit.finished_at += seconds

    def close_session(self, session: Session, cause: str) -> int:
        """Count as lost all that a session owes; returns the transitions."""
        numbers = list(self.credits(session))
        return sum(self._close(session, number, self.lost, cause) for number in numbers)

    def begin_epoch(self, cause: str) -> None:
        """Count all that is promised or queued as lost, and from here on as of another epoch."""
        for session in self.sessions:
            self.close_session(session, cause)
        self.lose_queued(cause)
        self.lost_before_epoch = self.lost.total()

    @property
    def lost_in_epoch(self) -> int:
        """What was lost since the epoch began."""
        return self.lost.total() - self.lost_before_epoch

    def totals(self) -> dict[str, Any]:
        """All but the credits, as plain values for the journal."""
        return {name: getattr(self, name) for name in _TOTALS} | {
            "rejected": dict(self.rejected),
            "lost": dict(self.lost),
        }

    def owed(self, session: Session) -> list[list[Any]]:
        """The open credits of a session, as plain values for the journal."""
        return [
            [number, c.count, c.granted_at_version, list(c.weights), c.arrived, sorted(c.parts), c.final_part]
            for number, c in self.credits(session).items()
        ]

    @classmethod
    def restore(cls, capacity: int, state: dict[str, Any]) -> CreditLedger:
        """The ledger as it stood when `state` was taken."""
        ledger, totals = cls(capacity), state["totals"]
        for name in _TOTALS:
            setattr(ledger, name, totals[name])
        ledger.rejected.update(totals["rejected"])
        ledger.lost.update(totals["lost"])
        for session, owed in state["owed"].items():
            for number, count, granted_at, weights, arrived, parts, final_part in owed:
                credit = Credit(count, granted_at, tuple(weights), arrived, set(parts), final_part)
                ledger._credits.setdefault(session, {})[number] = credit
                ledger.outstanding += credit.remaining
        return ledger

    def _all(self) -> Iterator[tuple[Session, int, Credit]]:
        for session, numbered in self._credits.items():
            for number, credit in numbered.items():
                yield session, number, credit

    def _arrive(self, session: Session, number: int, part: int, count: int, *, final: bool) -> None:
        credit = self.check(session, number, part, count)
        self.changed.add(session)
        credit.parts.add(part)
        credit.arrived += count
        self.outstanding -= count
        if final:
            credit.final_part = part
        if credit.is_complete:
            self._remove(session, number)
            self.outstanding -= credit.remaining
            self.returned_total += credit.remaining

    def _close(self, session: Session, number: int, account: Counter[str], reason: str) -> int:
        remaining = self._remove(session, number).remaining
        self.outstanding -= remaining
        account[reason] += remaining
        return remaining

    def _remove(self, session: Session, number: int) -> Credit:
        numbered = self._credits[session]
        self.changed.add(session)
        credit = numbered.pop(number)
        if not numbered:
            del self._credits[session]
        return credit

    @staticmethod
    def _require(count: int, available: int, what: str) -> None:
        if not 0 <= count <= available:
            raise LedgerError(f"{count} transitions taken from {available} {what}")
