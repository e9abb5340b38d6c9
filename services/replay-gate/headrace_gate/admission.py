"""Which session may join, and what another one is told. Pure."""

from __future__ import annotations

from headrace_gate.learner_account import LearnerAccount
from headrace_gate.roster import MAX_SEATS, Roster
from headrace_proto.messages import Leave, Session

FULL = f"all {MAX_SEATS} seats are taken"


def refusal(session: Session, learner: LearnerAccount, roster: Roster) -> Leave | None:
    """Why a session may not join now, None if it may."""
    if learner.progress is None:
        return Leave(code="not_ready", reason="the gate has not heard from a learner yet")
    if learner.is_finished:
        return Leave(code="finished", reason="the run is finished")
    if session in roster.seats:
        return None
    if learner.takes_turns and roster.seats:
        return Leave(code="not_ready", reason="a deterministic run has one actor")
    return Leave(code="not_ready", reason=FULL) if len(roster.seats) >= MAX_SEATS else None
