"""Who plays: the actors' sessions, their leases, and the line in which they wait for credit. Pure: time is given."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from headrace_proto.messages import Session

MAX_SEATS = 1024
"""Most sessions at once: whoever is let in could open any number, each of which the gate looks at every turn."""


@dataclass(slots=True)
class Seat:
    """One session: the actor index that it plays as, and how many sessions have played as that index before it."""

    actor: int
    life: int
    last_heard: float
    last_granted: int = 0
    asked_credit: int = 0
    asked_count: int = 0
    in_vain_since: float = math.inf

    @property
    def is_waiting(self) -> bool:
        """Whether it has asked for a credit that it does not have."""
        return self.asked_credit > self.last_granted


class Roster:
    """Sessions by their id. The line is first come, first served, so no actor is passed over."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self.changed: set[Session] = set()
        """Sessions that came, left or were granted a credit, until whoever keeps the journal clears it."""
        self.lives_changed = False
        self.first_life = 0
        self.seats: dict[Session, Seat] = {}
        self._line: dict[Session, None] = {}
        self._lives: Counter[int] = Counter()
        self._nobody_heard_before = -math.inf

    def join(self, session: Session, now: float) -> Seat:
        """Seat a new session at the lowest free index, or find the one that it has."""
        if session not in self.seats:
            taken = {seat.actor for seat in self.seats.values()}
            actor = next(index for index in range(len(taken) + 1) if index not in taken)
            self.seats[session] = Seat(actor, self.first_life + self._lives[actor], now)
            self.changed.add(session)
        return self.hear(session, now)

    def count_lives_from(self, first_life: int) -> None:
        """Count the lives of every actor from `first_life`."""
        self.first_life = first_life
        self._lives.clear()
        self.lives_changed = True

    def hear(self, session: Session, now: float) -> Seat:
        """Renew a lease; raises KeyError for a session that is not seated."""
        seat = self.seats[session]
        seat.last_heard = now
        return seat

    def leave(self, session: Session) -> Seat | None:
        """Free a seat."""
        self._line.pop(session, None)
        self.changed.add(session)
        return self.seats.pop(session, None)

    def ask(self, session: Session, credit: int, count: int) -> None:
        """Stand in line for a credit; asking again for the same one keeps the place."""
        seat = self.seats[session]
        seat.asked_credit, seat.asked_count, seat.in_vain_since = credit, count, math.inf
        if seat.is_waiting:
            self._line.setdefault(session)

    def asks_in_vain(self, session: Session, now: float) -> bool:
        """Note that it asks for credit that is used up; whether it has asked for no other within a lease.

        An actor does so once if its request was late; for ever if somebody else asked for credit in its name.
        """
        seat = self.seats[session]
        seat.in_vain_since = min(seat.in_vain_since, now)
        return now - seat.in_vain_since > self.lease_seconds

    def first_in_line(self) -> tuple[Session, Seat] | None:
        """Who is to be granted next."""
        session = next(iter(self._line), None)
        return None if session is None else (session, self.seats[session])

    def grant_first(self) -> None:
        """The first in line has its credit and leaves the line."""
        session = next(iter(self._line))
        del self._line[session]
        seat = self.seats[session]
        if not seat.last_granted:
            self._lives[seat.actor] += 1
            self.lives_changed = True
        seat.last_granted = seat.asked_credit
        self.changed.add(session)

    def grant_again(self, session: Session, credit: int) -> None:
        """Let a credit that was taken back be asked for once more, in case the actor never had word of it."""
        seat = self.seats.get(session)
        if seat is not None and seat.last_granted == credit:
            seat.last_granted = credit - 1
            self.changed.add(session)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    @property
    def waiting_transitions(self) -> int:
        """How many transitions they ask for."""
        return sum(self.seats[session].asked_count for session in self._line)

    def expired(self, now: float) -> list[Session]:
        """Sessions not heard of for a lease; looks at each seat only once it can be so for one."""
        if now - self._nobody_heard_before <= self.lease_seconds:
            return []
        self._nobody_heard_before = min((seat.last_heard for seat in self.seats.values()), default=now)
        return [session for session, seat in self.seats.items() if now - seat.last_heard > self.lease_seconds]

    def forgive(self, seconds: float) -> None:
        """Prolong all leases: the gate itself did not listen for so long."""
        for seat in self.seats.values():
            seat.last_heard += seconds
            seat.in_vain_since += seconds

    def seat(self, session: Session) -> list[int] | None:
        """Where a session sits, as plain values for the journal; None if it does not."""
        seat = self.seats.get(session)
        return None if seat is None else [seat.actor, seat.life, seat.last_granted]

    def lives(self) -> dict[str, Any]:
        """How many sessions have played as each actor, as plain values for the journal."""
        return {"first": self.first_life, "of": [[actor, lives] for actor, lives in self._lives.items()]}

    @classmethod
    def restore(cls, lease_seconds: float, state: dict[str, Any], now: float) -> Roster:
        """The roster as it stood; every lease begins anew."""
        roster = cls(lease_seconds)
        for session, (actor, life, last_granted) in state["seats"].items():
            roster.seats[session] = Seat(actor, life, now, last_granted)
        roster.first_life = state["lives"]["first"]
        roster._lives.update(dict(map(tuple, state["lives"]["of"])))
        return roster
