"""Invariants 3 and 5: any one process may be killed; the run goes on by itself and the account closes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from system.training_run import TrainingRun, account, assert_account_closes
from waiting import wait_until

CARTPOLE = ("--game", "CartPole-v1", "--actors", "3", "--lease-seconds", "10", "--save-every", "5000")


def go_on(run: TrainingRun, transitions: float) -> None:
    """Until so many more transitions are trained."""
    wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= 0)
    target = run.value("gate", "gate_trained_transitions_total") + transitions
    wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= target, seconds=180)


@pytest.mark.timeout(600)
def test_actor_learner_and_gate_are_killed_in_turn_and_training_goes_on(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(1_000)
        wait_until(lambda: run.value("gate", "gate_actors") == 3)

        run.signal("actor-1", signal.SIGKILL)
        wait_until(lambda: run.value("gate", "gate_actors") in {2, 4})
        wait_until(lambda: run.value("gate", "gate_actors") == 3)
        go_on(run, 500)
        assert_account_closes(run)

        run.signal("learner", signal.SIGKILL)
        wait_until(lambda: run.value("gate", "gate_learner_restarts_total") == 1, seconds=180)
        go_on(run, 500)
        assert_account_closes(run)
        assert run.value("learner", "learner_policy_lag_max_updates") <= run.value(
            "learner", "learner_policy_lag_bound_updates"
        )

        before = account(run)
        run.signal("gate", signal.SIGKILL)
        wait_until(lambda: run.events("restarted")[-1]["process"] == "gate")
        wait_until(lambda: run.value("gate", "gate_trained_transitions_total") > before["trained"] + 500, seconds=180)
        assert_account_closes(run)
        assert account(run)["promised"] > before["promised"]
        assert run.value("gate", "gate_actors") == 3

        run.interrupt()
        assert run.wait() == 0


@pytest.mark.timeout(300)
def test_across_a_restart_of_the_gate_it_counts_as_trained_what_the_learner_trained(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(1_000)
        run.signal("gate", signal.SIGKILL)
        go_on(run, 2_000)
        for actor in ("actor-0", "actor-1", "actor-2"):
            run.signal(actor, signal.SIGSTOP)

        wait_until(
            lambda: (
                run.value("gate", "gate_trained_transitions_total") == run.value("learner", "learner_transitions_total")
                and run.value("gate", "gate_untrained_transitions") == 0
            )
        )
        assert_account_closes(run)


@pytest.mark.timeout(300)
def test_a_frozen_actor_does_not_hold_the_others_up_and_is_heard_again(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(500)
        wait_until(lambda: run.value("gate", "gate_actors") == 3)

        run.signal("actor-0", signal.SIGSTOP)
        wait_until(lambda: run.value("gate", "gate_actors") == 2)
        go_on(run, 1_000)
        run.signal("actor-0", signal.SIGCONT)

        wait_until(lambda: run.value("gate", "gate_actors") == 3)
        go_on(run, 500)
        assert_account_closes(run)
