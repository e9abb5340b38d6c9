"""An actor's session: what it says when."""

from __future__ import annotations

from headrace_actor.session import Session
from headrace_proto.messages import CreditGrant, CreditRequest


def asked_at(session: Session, seconds: int) -> list[float]:
    """When a credit is asked for, looking ten times a second."""
    times = [tenth / 10 for tenth in range(seconds * 10)]
    return [now for now in times if any(isinstance(message, CreditRequest) for message in session.due(now))]


def test_who_waits_for_credit_asks_again_after_a_second_and_then_with_its_heartbeats() -> None:
    session = Session(lease_seconds=10.0, now=0.0)
    session.ask(40, now=0.0)
    assert asked_at(session, 10) == [0.0, 1.0, 3.5, 6.0, 8.5]


def test_a_short_lease_makes_nobody_ask_more_often_than_every_second() -> None:
    session = Session(lease_seconds=1.0, now=0.0)
    session.ask(40, now=0.0)
    assert asked_at(session, 4) == [0.0, 1.0, 2.0, 3.0]


def test_the_next_credit_is_asked_for_again_as_soon_as_the_first_was() -> None:
    session = Session(lease_seconds=10.0, now=0.0)
    session.ask(40, now=0.0)
    asked_at(session, 5)
    session.receive(CreditGrant(credit=1, count=40, generation=1, weights_version=0).encode(), now=5.0)
    session.take_grant()
    session.ask(40, now=5.0)
    assert [now for now in asked_at(session, 7) if now >= 5.0] == [5.0, 6.0]
