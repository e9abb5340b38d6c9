"""`headrace train` with its learner on a CUDA device. Left out where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from system.training_run import TrainingRun, assert_account_closes
from waiting import wait_until

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

PONG = ["--game", "pong", "--actors", "2"]


def device_of(run: TrainingRun) -> str:
    lines = (run.run_dir / "logs" / "learner.log").read_text().splitlines()
    started = [event for line in lines if (event := json.loads(line))["event"] == "started"]
    return str(started[-1]["device"])


@pytest.mark.parametrize("choice", ["auto", "cuda"])
def test_the_learner_trains_on_the_device_and_the_account_closes(choice: str, tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *PONG, "--preset", "gpu", "--device", choice) as run:
        run.wait_for_steps(10_000)

        assert device_of(run) == "cuda"
        assert_account_closes(run)
        run.interrupt()
        assert run.wait() == 0


def test_a_run_begun_on_the_device_goes_on_without_it(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *PONG, "--steps", "3000", "--device", "cuda") as run:
        assert run.wait() == 0
    with TrainingRun(tmp_path, *PONG, "--steps", "5000", "--device", "cpu", "--resume", "latest") as run:
        assert run.wait() == 0

        assert device_of(run) == "cpu"


def test_the_learner_with_a_replay_trains_on_the_device(tmp_path: Path) -> None:
    replay = ["--algorithm", "nstep-q", "--replay", "prioritized", "--replay-min-size-to-sample", "500"]
    with TrainingRun(tmp_path, *PONG, *replay, "--replay-max-size", "2000", "--device", "cuda") as run:
        wait_until(lambda: run.value("learner", "learner_updates_total") >= 20, 120)

        assert device_of(run) == "cuda"
        run.interrupt()
        assert run.wait() == 0
