"""It learns: CartPole through the real services, to a return that chance does not reach."""

from __future__ import annotations

from pathlib import Path

import pytest
from system.training_run import TrainingRun
from waiting import wait_until

STATED_RETURN = 75
"""Mean of the last 100 games, exploration included. Random actions make 22, and a mean of 100 of them never 30."""


@pytest.mark.timeout(600)
def test_cartpole_is_learned_to_three_times_the_return_of_chance(tmp_path: Path) -> None:
    run_for = ["--game", "CartPole-v1", "--actors", "2", "--steps", "600000", "--epsilon-decay-steps", "15000"]
    learning = ["--learning-rate", "5e-4", "--batch-size", "32", "--target-update-every", "2000", "--double-q"]
    with TrainingRun(tmp_path, *run_for, *learning, "--publish-every", "64") as run:

        def learned() -> bool:
            assert run.is_running, "all steps were trained without success"
            return run.value("learner", "learner_episode_return_mean") >= STATED_RETURN

        wait_until(learned, seconds=540)
        assert run.value("learner", "learner_policy_lag_max_updates") <= run.value(
            "learner", "learner_policy_lag_bound_updates"
        )
        run.interrupt()
        assert run.wait() == 0
