"""Runs with a replay: the presets that have one, from real actors through a real gate."""

from __future__ import annotations

from pathlib import Path

import pytest
from system.training_run import TrainingRun, assert_account_closes

from headrace_proto.presets import PresetName

SMALL = ("--game", "CartPole-v1", "--network", "mlp", "--actors", "2", "--capacity", "256", "--batch-size", "32")
REPLAY = ("--replay-max-size", "2000", "--replay-min-size-to-sample", "500", "--samples-per-insert", "2")
STEPS = 4_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("preset", ["dqn", "ape-x"])
def test_a_preset_with_a_replay_trains_and_its_account_its_lag_and_its_age_hold(
    preset: PresetName, tmp_path: Path
) -> None:
    with TrainingRun(tmp_path, "--preset", preset, *SMALL, *REPLAY, "--steps", "100000000") as run:
        run.wait_for_steps(STEPS, seconds=400)
        assert_account_closes(run)
        (learner,) = run.samples("learner")
        values = {name.removeprefix("headrace_learner_"): value for (name, _), value in learner.items()}
        assert values["policy_lag_max_updates"] <= values["policy_lag_bound_updates"]
        assert values["updates_total"] > 0
        assert 0 < values["replay_sample_age_max_versions"] <= values["replay_sample_age_bound_versions"]
        assert 2_000 - 3 * 16 <= values["replay_size_transitions"] <= 2_000
        assert values["replay_samples_per_insert"] == pytest.approx(2, rel=0.05)
        run.interrupt()
        assert run.wait() == 0


def test_a_replay_of_an_algorithm_that_takes_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, "--game", "CartPole-v1", "--replay", "uniform") as run:
        assert run.wait() == 2
        (line,) = run.lines()
        assert "--replay uniform: pqn" in line
        assert "--algorithm nstep-q or one-step-q" in line
    assert not run.run_dir.exists()
