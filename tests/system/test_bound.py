"""Invariant 1: with the learner stopped and 16 actors pushing, no more than `capacity` transitions come to be."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from system.training_run import TrainingRun, assert_account_closes
from waiting import wait_until

STOPPED_SECONDS = 20.0
"""The time over which the bound is watched: a subject of the test, not a wait for something else."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("game", ["CartPole-v1", "Breakout"])
def test_a_stopped_learner_leaves_at_most_capacity_alive_and_the_actors_count_agrees(game: str, tmp_path: Path) -> None:
    arguments = ["--game", game, "--actors", "16", "--environments-per-actor", "2", "--network"]
    with TrainingRun(tmp_path, *arguments, "mlp" if game == "CartPole-v1" else "dqn-2013") as run:
        run.wait_for_steps(200, seconds=300)
        wait_until(lambda: run.value("gate", "gate_actors") == 16, seconds=300)
        run.signal("learner", signal.SIGSTOP)
        deadline = time.monotonic() + STOPPED_SECONDS
        samples = 0
        while time.monotonic() < deadline:
            assert run.value("gate", "gate_alive_transitions") <= 256
            samples += 1
        assert samples >= 10

        # What was granted for weights that the stopped learner has not sent any more stays a promise.
        wait_until(lambda: generated(run) == run.value("gate", "gate_accepted_transitions_total"))
        assert_account_closes(run)

        trained = run.value("gate", "gate_trained_transitions_total")
        run.signal("learner", signal.SIGCONT)
        wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= trained + 500, seconds=300)
        assert_account_closes(run)
        assert run.value("gate", "gate_alive_transitions") <= 256
        assert run.value("learner", "learner_policy_lag_max_updates") <= run.value(
            "learner", "learner_policy_lag_bound_updates"
        )


def generated(run: TrainingRun) -> float:
    """The actors' own count."""
    return run.total("actor", "actor_env_steps_total")
