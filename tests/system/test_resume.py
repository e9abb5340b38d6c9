"""Invariant 7: a run that is killed and resumed ends like one that was not, past the end of every schedule too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from system.training_run import TrainingRun
from waiting import wait_until

# Schedules end at 1,000 (epsilon) and 2,000 (learning rate): the resumed part lies past both.
SETTINGS = ("--game", "CartPole-v1", "--actors", "2", "--epsilon-decay-steps", "1000", "--learning-rate-decay-steps")
RUN = (*SETTINGS, "2000", "--save-every", "1000", "--keep", "20")
STEPS = 12_000


def newest_state(run_dir: Path) -> dict[str, Any]:
    newest = max((run_dir / "checkpoints").glob("step-*"))
    state: dict[str, Any] = json.loads((newest / "state.json").read_text())
    return state


def saved_steps(run_dir: Path) -> list[int]:
    return sorted(int(folder.name.removeprefix("step-")) for folder in (run_dir / "checkpoints").glob("step-*"))


@pytest.mark.timeout(400)
def test_a_run_killed_past_the_end_of_its_schedules_goes_on_and_ends_like_one_that_was_not(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *RUN, "--steps", "100000000") as killed:
        wait_until(lambda: len(saved_steps(killed.run_dir)) >= 4)
        killed.kill()
    at_death = saved_steps(killed.run_dir)[-1]
    total = at_death + STEPS

    with TrainingRun(tmp_path, "--resume", "latest", "--actors", "2", "--steps", str(total)) as resumed:
        assert resumed.wait() == 0

    state = newest_state(resumed.run_dir)
    assert total <= state["env_steps"] < total + 64 + 5
    assert state["finished"] is True
    assert state["env_steps"] // 69 <= state["updates"] <= state["env_steps"] // 64
    assert state["settings"]["learning_rate_decay_steps"] == 2_000
    # Checkpoints stand at the first batch past each thousand, before the kill and after it.
    thousands = [step // 1000 for step in saved_steps(resumed.run_dir) if step < total - 1000]
    assert thousands == list(range(thousands[0], thousands[-1] + 1))


@pytest.mark.timeout(300)
def test_ctrl_c_saves_and_the_ancestors_checkpoint_flag_finds_the_step(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *RUN, "--steps", "100000000") as run:
        run.wait_for_steps(2_500)
        run.interrupt()
        assert run.wait() == 0
    last = saved_steps(run.run_dir)[-1]
    assert last >= 2_500

    # The ancestor's name for it: the checkpoint of 2,000 is saved at the end of the batch that reached it.
    with TrainingRun(tmp_path, "--checkpoint=2000", "--processes=2", "--steps", str(last + 500)) as again:
        assert again.wait() == 0

    assert saved_steps(again.run_dir)[-1] >= last + 500


@pytest.mark.timeout(300)
def test_a_damaged_checkpoint_is_passed_over_with_a_word(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *RUN, "--steps", "3000") as run:
        assert run.wait() == 0
    newest = max((run.run_dir / "checkpoints").glob("step-*"))
    model = newest / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-100])

    with TrainingRun(tmp_path, "--resume", "latest", "--actors", "2", "--steps", "4000") as again:
        assert again.wait() == 0

    assert any("damaged" in line for line in again.lines())
    assert newest_state(again.run_dir)["env_steps"] >= 4_000
