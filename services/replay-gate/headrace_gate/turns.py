"""Whose turn it is: in a deterministic run one actor and the learner take turns. Pure.

Such a run grants credit at quiescence only: no credit is open and no batch untrained, and so fewer transitions queued
than a batch has. Until the round that is then played has arrived nothing is trained, and nothing published. So which
weights choose which action, and which rollouts make up which batch, do not depend on who is fast.
"""

from __future__ import annotations

from headrace_gate.learner_account import LearnerAccount
from headrace_gate.ledger import CreditLedger
from headrace_gate.roster import Roster
from headrace_proto.messages import Session


def may_grant(learner: LearnerAccount, ledger: CreditLedger) -> bool:
    """Whether it is an actor's turn, given that batches have been made of what is queued."""
    if not learner.is_greeted or learner.is_finished:
        return False
    return not learner.takes_turns or (not ledger.sessions and not learner.untrained)


def may_join(session: Session, learner: LearnerAccount, roster: Roster) -> bool:
    """Whether a session may be seated: a deterministic run has one actor."""
    return not learner.takes_turns or not roster.seats or session in roster.seats


def interruption(learner: LearnerAccount, ledger: CreditLedger, roster: Roster) -> str:
    """What has put a deterministic run off the course that its seed gives, empty if nothing has."""
    if not learner.takes_turns:
        return ""
    if ledger.lost.total():
        return "transitions were lost"
    if any(seat.life for seat in roster.seats.values()):
        return "the actor joined anew, with other games"
    return "the learner was started anew" if learner.generation > 1 else ""
