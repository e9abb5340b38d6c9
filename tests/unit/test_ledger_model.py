"""The credits, explored: in every state that a small world can reach the account holds, and each state can go on.

What the worlds are and what is assumed of them: docs/guarantees.md. Larger ones: `make prove`.
"""

from __future__ import annotations

import pytest
from ledger_model.explorer import explore
from ledger_model.fingerprint import fingerprint
from ledger_model.moves import moves
from ledger_model.sizes import CUT_SHORT, ONE_ACTOR, QUICK, TURNS, TWO_ENVIRONMENTS
from ledger_model.world import Size, World

from headrace_gate.gate import Addresses, Gate, Limits
from headrace_gate.ledger import CreditLedger
from headrace_gate.roster import Seat
from headrace_proto.messages import CreditRequest, Session


@pytest.mark.parametrize("size", QUICK.values(), ids=QUICK.keys())
def test_the_account_holds_in_every_state_and_from_each_a_batch_is_trained_and_every_credit_comes_home(
    size: Size,
) -> None:
    seen = explore(World(size))

    assert seen.violation is None, str(seen.violation)
    assert seen.states > 100


@pytest.mark.parametrize("size", [TURNS, CUT_SHORT], ids=["turns", "cut short"])
def test_states_that_count_as_one_go_on_alike(size: Size) -> None:
    beginning = World(size)
    followers = {fingerprint(beginning): _followers(beginning)}
    frontier = [beginning]
    while frontier:
        for after in _all_next(frontier.pop()):
            found = fingerprint(after)
            if found not in followers:
                frontier.append(after)
                followers[found] = _followers(after)
            else:
                assert followers[found] == _followers(after)


class ForgetfulGate(Gate):
    """At the end of a lease it frees the seat and forgets what the actor owes."""

    def _drop_silent_actors(self, now: float) -> list[Seat]:
        return [seat for session in self.roster.expired(now) if (seat := self.roster.leave(session))]


class GenerousGate(Gate):
    """It grants whatever is asked for, though it granted it before."""

    def _on_credit_request(self, session: Session, request: CreditRequest, now: float) -> None:
        self.roster.seats[session].last_granted = request.credit - 1
        super()._on_credit_request(session, request, now)


class PatientGate(Gate):
    """It waits for rollouts that were lost, as if they could still come."""

    def tick(self, now: float) -> list[Seat]:
        for session in self.ledger.sessions:
            for credit in self.ledger.credits(session).values():
                credit.finished_at = None
        return super().tick(now)


class LaxLedger(CreditLedger):
    """It has room for one more."""

    @property
    def room(self) -> int:
        return super().room + 1


class LaxGate(Gate):
    """A gate with such a ledger."""

    def __init__(self, identity: Session, limits: Limits, addresses: Addresses) -> None:
        super().__init__(identity, limits, addresses)
        self.ledger = LaxLedger(limits.capacity)


@pytest.mark.parametrize(
    ("gate", "size", "sentence"),
    [
        (ForgetfulGate, TWO_ENVIRONMENTS, "no batch will ever be trained again"),
        (GenerousGate, ONE_ACTOR, "a credit was made twice"),
        (PatientGate, TWO_ENVIRONMENTS, "no batch will ever be trained again"),
        (LaxGate, ONE_ACTOR, "more transitions are alive than the capacity"),
    ],
)
def test_a_gate_with_a_defect_is_found(gate: type[Gate], size: Size, sentence: str) -> None:
    seen = explore(World(size, gate))

    assert seen.violation is not None
    assert seen.violation.sentence == sentence, str(seen.violation)


def test_the_trace_of_a_defect_is_the_shortest_that_leads_to_it() -> None:
    seen = explore(World(TWO_ENVIRONMENTS, ForgetfulGate))

    assert seen.violation is not None
    assert seen.violation.trace == [
        "actor 0 starts",
        "actor 0 says what is due",
        "a learner starts",
        "the learner reports",
        "PROGRESS trained=0 finished=False from 3 arrives",
        "JOIN  from 2 arrives",
        "WELCOME  for 2 arrives",
        "actor 0 says what is due",
        "CREDIT credit=1 count=2 finished=0 from 2 arrives",
        "actor 0 is killed",
        "actor 0 starts",
    ]


def _all_next(world: World) -> list[World]:
    found = []
    for move in moves(world):
        after = world.copy()
        after.faults += move.faults
        move.act(after)
        found.append(after)
    return found


def _followers(world: World) -> set[bytes]:
    return {fingerprint(after) for after in _all_next(world)}
