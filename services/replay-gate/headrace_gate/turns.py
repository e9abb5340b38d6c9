"""Whose turn it is: the actors' while there is room; in a deterministic run one actor's, then the learner's. Pure.

A deterministic run grants credit at quiescence only: no credit is open and no batch untrained, and so fewer transitions
queued than a batch has. Until the round that is then played has arrived nothing is trained, and nothing published. So
which weights choose which action, and which rollouts make up which batch, do not depend on who is fast.
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


def is_learners(learner: LearnerAccount, ledger: CreditLedger, roster: Roster) -> bool:
    """Whether no actor can play before the learner has trained something, so that what is queued grows no further.

    Then it is a batch, however short. Else the actors would wait for the learner to finish, and it then for them.
    """
    first = roster.first_in_line()
    if first is None or ledger.outstanding or not may_grant(learner, ledger):
        return False
    return first[1].asked_count > ledger.room


def may_join(session: Session, learner: LearnerAccount, roster: Roster) -> bool:
    """Whether a session may be seated: a deterministic run has one actor."""
    return not learner.takes_turns or not roster.seats or session in roster.seats
