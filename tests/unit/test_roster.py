"""The roster: everyone is served in the order of asking, and seats are the lowest that are free."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace_gate import account_entries
from headrace_gate.learner_account import LearnerAccount
from headrace_gate.ledger import CreditLedger
from headrace_gate.roster import Roster

NAMES = [bytes([index]) * 16 for index in range(5)]


def state_of(roster: Roster) -> dict[str, Any]:
    """What the journal would give back of it."""
    entries = account_entries.whole(CreditLedger(1), roster, LearnerAccount(bytes(16)))
    return account_entries.parts(entries).roster


def seated(count: int, now: float = 0.0) -> Roster:
    roster = Roster(lease_seconds=10.0)
    for name in NAMES[:count]:
        roster.join(name, now)
    return roster


@given(st.permutations(NAMES))
def test_credit_is_granted_in_the_order_of_asking(order: list[bytes]) -> None:
    roster = seated(5)
    for name in order:
        roster.ask(name, credit=1, count=40)
        roster.ask(order[0], credit=1, count=40)

    served = []
    while (first := roster.first_in_line()) is not None:
        served.append(first[0])
        roster.grant_first()

    assert served == order


def test_who_was_served_stands_at_the_end_of_the_line() -> None:
    roster = seated(2)
    roster.ask(NAMES[0], 1, 40)
    roster.ask(NAMES[1], 1, 40)
    roster.grant_first()
    roster.ask(NAMES[0], 2, 40)

    first = roster.first_in_line()

    assert first is not None
    assert first[0] == NAMES[1]


def test_a_free_seat_is_taken_again_in_another_life() -> None:
    roster = seated(3)
    roster.ask(NAMES[1], 1, 40)
    roster.grant_first()
    roster.leave(NAMES[1])

    seat = roster.join(NAMES[4], now=1.0)

    assert (seat.actor, seat.life) == (1, 1)


def test_a_session_that_had_no_credit_has_played_nothing_and_is_no_life() -> None:
    roster = seated(3)
    roster.ask(NAMES[1], 1, 40)
    roster.leave(NAMES[1])

    seat = roster.join(NAMES[4], now=1.0)

    assert (seat.actor, seat.life) == (1, 0)


def test_who_is_silent_for_a_lease_is_gone_unless_the_gate_did_not_listen() -> None:
    roster = seated(2)
    roster.hear(NAMES[1], now=8.0)

    assert roster.expired(now=10.5) == [NAMES[0]]
    roster.forgive(5.0)
    assert roster.expired(now=10.5) == []


def test_a_restored_roster_has_the_same_seats_and_lives() -> None:
    roster = seated(3)
    roster.ask(NAMES[0], 1, 40)
    roster.grant_first()
    roster.leave(NAMES[0])

    restored = Roster.restore(10.0, state_of(roster), now=100.0)

    assert state_of(restored) == state_of(roster)
    assert restored.expired(now=109.0) == []
    assert restored.join(NAMES[0], now=101.0).life == 1


def test_an_epochs_lives_count_from_its_beginning_after_a_restart_of_the_gate_too() -> None:
    roster = Roster(10.0)
    roster.count_lives_from(5000)
    roster.join(NAMES[0], now=0.0)
    roster.ask(NAMES[0], 1, 40)
    roster.grant_first()
    roster.leave(NAMES[0])

    restored = Roster.restore(10.0, state_of(roster), now=0.0)

    assert restored.join(NAMES[1], now=0.0).life == 5001
