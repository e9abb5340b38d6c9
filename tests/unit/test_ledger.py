"""The credit ledger: no transition is made, lost or counted twice, and never more than `capacity` are alive."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace_gate import account_entries
from headrace_gate.learner_account import LearnerAccount
from headrace_gate.ledger import CreditLedger, LedgerError
from headrace_gate.roster import Roster
from headrace_proto.errors import WireError

CAPACITY = 32
SESSIONS = [bytes([index]) * 16 for index in range(3)]
sessions = st.sampled_from(SESSIONS)
counts = st.integers(1, 12)


def state_of(ledger: CreditLedger) -> dict[str, Any]:
    """What the journal would give back of it."""
    entries = account_entries.whole(ledger, Roster(10.0), LearnerAccount(bytes(16)))
    return account_entries.parts(entries).ledger


def assert_account_closes(ledger: CreditLedger) -> None:
    settled = ledger.returned_total + ledger.trained_total + ledger.rejected.total() + ledger.lost.total()
    owed = sum(credit.remaining for session in ledger.sessions for credit in ledger.credits(session).values())

    assert ledger.promised_total == settled + ledger.alive
    assert ledger.outstanding == owed
    assert min(ledger.outstanding, ledger.queued, ledger.delivered) >= 0


class LedgerMachine(RuleBasedStateMachine):
    """Any order of entries that peers can cause."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CreditLedger(CAPACITY)
        self.next_number = dict.fromkeys(SESSIONS, 1)
        self.version = 0
        self.now = 0.0

    def open_credits(self) -> list[tuple[bytes, int]]:
        return [(session, number) for session in self.ledger.sessions for number in self.ledger.credits(session)]

    @rule(session=sessions, count=counts)
    def grant(self, session: bytes, count: int) -> None:
        if count <= self.ledger.room:
            self.ledger.grant(session, self.next_number[session], count, self.version)
            self.next_number[session] += 1
        else:
            with pytest.raises(LedgerError):
                self.ledger.grant(session, self.next_number[session], count, self.version)

    @precondition(lambda self: self.open_credits())
    @rule(data=st.data(), count=st.integers(0, 14), part=st.integers(0, 4), final=st.booleans(), good=st.booleans())
    def arrive(self, data: st.DataObject, count: int, part: int, final: bool, good: bool) -> None:
        session, number = data.draw(st.sampled_from(self.open_credits()))
        credit = self.ledger.credits(session)[number]
        stands = part <= credit.count and part not in credit.parts and count <= credit.remaining
        with contextlib.nullcontext() if stands else pytest.raises(WireError, match=r"duplicate|over_credit"):
            if good:
                self.ledger.accept(session, number, part, count, final=final)
            else:
                self.ledger.reject(session, number, part, count, "malformed", final=final)

    @rule(session=sessions, number=st.integers(90, 99))
    def arrive_without_credit(self, session: bytes, number: int) -> None:
        with pytest.raises(WireError, match="revoked_credit"):
            self.ledger.accept(session, number, 0, 1, final=True)

    @rule(count=counts)
    def deliver(self, count: int) -> None:
        if count <= self.ledger.queued:
            self.ledger.deliver(count)
        else:
            with pytest.raises(LedgerError):
                self.ledger.deliver(count)

    @rule(trained=counts, rejected=counts)
    def train(self, trained: int, rejected: int) -> None:
        if trained + rejected <= self.ledger.delivered:
            self.ledger.train(trained, {"not_finite": rejected})
            self.version += 1

    @rule()
    def take_back_stale(self) -> None:
        self.ledger.take_back_stale(self.version, straggler_updates=3)

        for session, number in self.open_credits():
            assert self.version - self.ledger.credits(session)[number].granted_at_version < 3

    @rule(session=sessions, number=st.integers(1, 9))
    def finish(self, session: bytes, number: int) -> None:
        self.now += 1
        self.ledger.finish(session, number, self.now)

    @rule()
    def lose_in_transit(self) -> None:
        self.ledger.lose_in_transit(self.now - 1)

    @rule(session=sessions)
    def close_session(self, session: bytes) -> None:
        self.ledger.close_session(session, "actor_gone")

        assert not self.ledger.credits(session)

    @rule()
    def lose_queue(self) -> None:
        self.ledger.lose_queued("gate_restart")

    @rule()
    def restart_from_state(self) -> None:
        self.ledger = CreditLedger.restore(CAPACITY, state_of(self.ledger))

    @invariant()
    def never_more_than_capacity_alive(self) -> None:
        assert self.ledger.alive <= CAPACITY

    @invariant()
    def account_closes(self) -> None:
        assert_account_closes(self.ledger)


TestLedger = LedgerMachine.TestCase


def test_what_a_final_rollout_leaves_of_its_credit_is_returned() -> None:
    ledger = CreditLedger(CAPACITY)
    ledger.grant(SESSIONS[0], 1, 10, version=0)

    ledger.accept(SESSIONS[0], 1, 0, 4, final=False)
    ledger.accept(SESSIONS[0], 1, 1, 3, final=True)

    assert (ledger.queued, ledger.returned_total, ledger.outstanding) == (7, 3, 0)


def test_a_final_rollout_that_overtakes_another_waits_for_it() -> None:
    ledger = CreditLedger(CAPACITY)
    ledger.grant(SESSIONS[0], 1, 10, version=0)

    ledger.accept(SESSIONS[0], 1, 1, 3, final=True)
    assert (ledger.returned_total, ledger.outstanding) == (0, 7)

    ledger.accept(SESSIONS[0], 1, 0, 4, final=False)
    assert (ledger.returned_total, ledger.outstanding) == (3, 0)


def test_what_is_finished_and_never_arrives_is_lost_in_transport() -> None:
    ledger = CreditLedger(CAPACITY)
    ledger.grant(SESSIONS[0], 1, 10, version=0)
    ledger.finish(SESSIONS[0], 1, now=5.0)

    assert ledger.lose_in_transit(before=4.9) == 0
    assert ledger.lose_in_transit(before=5.0) == 10
    assert dict(ledger.lost) == {"transport": 10}
