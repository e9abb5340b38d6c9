"""The benchmark of staleness: ages from what was written down, the bound, and that its command runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ages
import numpy as np
import pytest
import staleness
import staleness_figure
from ages import Observed, PlayedRollout
from staleness import BoundBrokenError, Setting

from headrace_proto.arguments import parse
from headrace_proto.capacity import least_capacity
from headrace_proto.settings import TrainSettings

ROOT = Path(__file__).parents[2]
PLAYED = {("a", 1, 0): PlayedRollout(4, began=10.0, ended=12.0), ("b", 7, 2): PlayedRollout(2, 11.0, 13.0)}


def observed(lags: list[int]) -> Observed:
    count = len(lags)
    return Observed(np.arange(count, dtype=float), np.linspace(0.1, 1.0, count), np.array(lags))


def test_an_age_is_from_the_step_to_the_update() -> None:
    found = ages.observe([(20.0, [["a", 1, 0], ["b", 7, 2]], [1, 1, 1, 1, 2, 2])], PLAYED)
    assert found.ages.tolist() == [9.5, 9.0, 8.5, 8.0, 8.0, 7.0]
    assert found.lags.tolist() == [1, 1, 1, 1, 2, 2]


def test_a_batch_with_a_rollout_that_nobody_wrote_down_is_left_out() -> None:
    found = ages.observe([(20.0, [["a", 1, 0], ["c", 1, 0]], [0] * 6), (21.0, [["b", 7, 2]], [3, 3])], PLAYED)
    assert found.lags.tolist() == [3, 3]


def test_a_batch_of_which_something_was_rejected_is_left_out() -> None:
    assert not len(ages.observe([(20.0, [], [0, 0])], PLAYED).lags)


def test_only_what_was_trained_meanwhile_counts() -> None:
    assert observed([5, 6, 7, 8]).between(1.0, 3.0).lags.tolist() == [6, 7]


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    learner, actor = tmp_path / "learner", tmp_path / "actor"
    actor.write_text('["a", 1, 0, 1, 1.0, 2.0]\n["a", 2, 0, 1, 2.0')
    learner.write_text('[5.0, [["a", 1, 0]], [2]]\n[6.0, [["a"')
    assert ages.read(learner, [actor]).ages.tolist() == [3.0]


def test_a_lag_beyond_the_bound_ends_the_benchmark() -> None:
    with pytest.raises(BoundBrokenError, match="a lag of 9 updates, the bound is 8"):
        staleness.numbers(Setting(64, True), observed([1, 9]), 8, 100.0)


def test_numbers_of_a_setting_have_its_name() -> None:
    values = staleness.numbers(Setting(64, True), observed([1, 3]), 8, 100.0)
    assert values["capacity_64_small_batches_steps_per_second"] == 100.0
    assert values["capacity_64_small_batches_lag_mean"] == 2.0
    assert values["capacity_64_small_batches_lag_max"] == 3.0


@pytest.mark.parametrize("setting", staleness.settings_of([64, 256, 1024], least_for_default_batches=191))
def test_every_setting_is_one_that_cannot_stand_still(setting: Setting) -> None:
    settings = parse(TrainSettings, setting.arguments, "headrace train")
    assert setting.capacity >= least_capacity(
        settings.batch_size, settings.environments_per_actor, settings.rollout_transitions
    )


def test_the_bound_is_the_formulas_of_the_guarantees() -> None:
    # m (P + K + ceil(C / B) - 1) - 1, with the defaults 2 (2 + 32 + 2 - 1) - 1
    assert staleness.bound_of(parse(TrainSettings, [], "headrace train")) == 69


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    curves = [staleness_figure.Curve("256, batches of 128", observed([0, 1, 2, 5]), 69, 1000.0)]
    staleness_figure.save(tmp_path / "figure.png", curves)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_its_fields(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "bench" / "staleness.py"),
        *("--quick", "--json", "--game", "CartPole-v1", "--actors", "1", "--capacities", "64", "--seconds", "1"),
        *("--figure", str(tmp_path / "figure.png")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr

    values = json.loads(done.stdout)
    assert values["capacity_64_small_batches_lag_max"] <= values["capacity_64_small_batches_lag_bound"]
    assert values["capacity_64_small_batches_age_median"] > 0
    assert values["distributions"]["capacity_64_small_batches"]["lag_updates"]["1"] >= 0
    assert (tmp_path / "figure.png").exists()
