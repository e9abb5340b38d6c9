"""It learns: CartPole through the real services, to a return that chance does not reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from system.training_run import TrainingRun

RANDOM_RETURN = 22
"""Mean return of random actions in CartPole-v1."""

STATED_RETURN = 100


@pytest.mark.timeout(600)
def test_cartpole_is_learned_well_beyond_chance(tmp_path: Path) -> None:
    arguments = ["--game", "CartPole-v1", "--actors", "2", "--steps", "120000", "--epsilon-decay-steps", "15000"]
    learning = ["--learning-rate", "5e-4", "--batch-size", "32", "--target-update-every", "2000", "--double-q"]
    with TrainingRun(tmp_path, *arguments, *learning, "--publish-every", "64", "--save-every", "20000") as run:
        assert run.wait(540) == 0

    evaluated = subprocess.run(
        [sys.executable, "-m", "headrace_local", "evaluate", "--name", "run", "--episodes", "10", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    scores = json.loads(evaluated.stdout.splitlines()[-1])
    assert scores["mean"] >= STATED_RETURN > 4 * RANDOM_RETURN
