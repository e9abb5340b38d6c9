"""The benchmark of scaling: its arithmetic, its simulated environments, and that its command runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scaling
import timed_environments
from local_run import Usage
from scaling import Point
from timed_environments import TimedEnvironment

ROOT = Path(__file__).parents[2]


def a_point(steps_per_second: float) -> Point:
    return Point(steps_per_second, 0.1, 0.5, 1.0, 0.3, 2.0**20)


def test_a_point_is_what_grew_a_second() -> None:
    learner = (
        {"headrace_learner_env_steps": 100.0, "headrace_learner_batch_wait_seconds_total": 1.0},
        {"headrace_learner_env_steps": 500.0, "headrace_learner_batch_wait_seconds_total": 2.0},
    )
    point = scaling.point(Usage(1.0, 2.0, 3.0, 0.0), Usage(2.0, 5.0, 9.0, 80.0), learner, actors=8, seconds=4.0)
    assert point == Point(100.0, 0.25, 0.75, 1.5, 0.25, 10.0)


def test_the_ideal_line_is_straight_and_the_speed_up_is_over_the_fewest() -> None:
    values = scaling.named(256, {1: a_point(100.0), 4: a_point(300.0)}, step_seconds=0.04)
    assert values["ideal_share_of_1_at_256"] == 0.5
    assert values["ideal_share_of_4_at_256"] == 0.375
    assert values["speedup_of_4_at_256"] == 3.0


def test_environments_that_step_at_once_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv(timed_environments.STEP_SECONDS_VARIABLE, "0.5")
    monkeypatch.setenv(timed_environments.AT_ONCE_VARIABLE, "4")
    environments = [TimedEnvironment((4,), 2) for _ in range(4)]
    for _ in range(3):
        for environment in environments:
            environment.step(0)
    assert waited == [0.5] * 3


def test_an_episode_ends_after_its_steps_and_begins_anew() -> None:
    environment = TimedEnvironment((84, 84), 6)
    first, _ = environment.reset(seed=1)
    truncations = [environment.step(0)[3] for _ in range(timed_environments.EPISODE_STEPS)]
    assert truncations == [False] * (timed_environments.EPISODE_STEPS - 1) + [True]
    np.testing.assert_array_equal(environment.reset()[0], first)


def test_another_process_finds_the_environments_as_those_of_a_package(tmp_path: Path) -> None:
    program = (
        "from headrace_proto import environments as e; "
        "print([e.spaces(e.find_game(name)) for name in ('TimedPixels-v0', 'TimedVector-v0')])"
    )
    with scaling.environments_known(0.0):
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert "frame_shape=(84, 84), frame_dtype='|u1', actions=6" in found.stdout, found.stderr
    assert "frame_shape=(4,), frame_dtype='<f4', actions=2" in found.stdout


def test_the_command_prints_its_fields() -> None:
    command = [
        sys.executable,
        str(ROOT / "bench" / "scaling.py"),
        *("--quick", "--json", "--frames", "vector", "--step-milliseconds", "5"),
        *("--actors", "1,2", "--capacities", "256", "--seconds", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr

    values = json.loads(done.stdout)
    assert values["steps_per_second_of_2_at_256"] > 0
    assert values["speedup_of_1_at_256"] == 1.0
    assert values["actor_bytes_of_1_at_256"] > 0
