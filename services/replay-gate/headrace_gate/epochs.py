"""Epochs of a deterministic run: what is played from one checkpoint of the learner to the next. Pure.

Games cannot be saved half played. So a deterministic run is resumed at each of its checkpoints, whether it was
interrupted or not: the learner takes up the checkpoint and comes to the gate as a new one, and the gate begins with
nothing alive and games that nobody has played. If anything disturbs an epoch, the learner is greeted again, at which it
plays the epoch again, from the same checkpoint and alike.

Any run begins so when it comes to a gate that had another or none: what was played of another game would often pass for
its own, and the lives of a run that is resumed must not begin at 0 again.
"""

from __future__ import annotations

from headrace_gate.learner_account import LearnerAccount
from headrace_gate.ledger import CreditLedger
from headrace_gate.rollout_queue import RolloutQueue
from headrace_gate.roster import Roster

EPOCH, RUN_CHANGED = "epoch", "run_changed"
"""Causes under which what an epoch, or another run, leaves behind counts as lost."""


def begin(
    cause: str, env_steps: int, learner: LearnerAccount, ledger: CreditLedger, queue: RolloutQueue, roster: Roster
) -> None:
    """Drop all that is alive; the lives of the actors, and so their games, count on from the checkpoint's env_steps."""
    learner.lose_untrained(cause, ledger)
    queue.take_all()
    ledger.begin_epoch(cause)
    roster.count_lives_from(env_steps)


def disturbance(learner: LearnerAccount, ledger: CreditLedger, roster: Roster) -> str:
    """What has put a deterministic run off the course that its seed gives, empty if nothing has."""
    if not learner.takes_turns or learner.is_finished:
        return ""
    if ledger.lost_in_epoch:
        return "transitions were lost"
    if any(seat.life > roster.first_life for seat in roster.seats.values()):
        return "the actor joined anew, with other games"
    return ""
