"""Invariant 7: a run that is killed and resumed ends like one that was not, past the end of every schedule too."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from system.training_run import TrainingRun
from waiting import wait_until

from headrace_actor import exploration
from headrace_learner import schedules
from headrace_proto.run_settings import RunSettings

# Schedules end at 1,000 (epsilon) and 2,000 (learning rate): a resumed part lies past both.
SETTINGS = ("--game", "CartPole-v1", "--actors", "2", "--epsilon-decay-steps", "1000", "--learning-rate-decay-steps")
RUN = (*SETTINGS, "2000", "--save-every", "1000", "--keep", "20")

GATE_AND_ACTORS = ("--preset", "gpu", "--network", "mlp", "--straggler-updates", "9", "--lease-seconds", "20")

# One actor under round-robin has one epsilon, in the end the first, before a kill and after it. The kill lies between
# the schedules' ends.
EPSILON_DECAY, LEARNING_RATE_DECAY, COMPARED_STEPS = 1_000, 25_000, 30_000
LEARNING_RATE = 1e-3
LONGEST_BATCH = 64 + 8 - 1
COMPARED = (
    *("--game", "CartPole-v1", "--actors", "1", "--exploration", "round-robin", "--save-every", "1000", "--keep", "50"),
    *("--epsilon-decay-steps", str(EPSILON_DECAY), "--learning-rate-decay-steps", str(LEARNING_RATE_DECAY)),
    *("--learning-rate", str(LEARNING_RATE), "--batch-size", "64", "--minibatches", "1"),
)


def newest_state(run_dir: Path) -> dict[str, Any]:
    newest = max((run_dir / "checkpoints").glob("step-*"))
    state: dict[str, Any] = json.loads((newest / "state.json").read_text())
    return state


def saved_steps(run_dir: Path) -> list[int]:
    return sorted(int(folder.name.removeprefix("step-")) for folder in (run_dir / "checkpoints").glob("step-*"))


@pytest.mark.timeout(600)
def test_a_run_killed_past_the_end_of_epsilons_schedule_follows_its_schedules_and_ends_like_one_that_was_not(
    tmp_path: Path,
) -> None:
    with TrainingRun(tmp_path, *COMPARED, "--steps", "100000000") as killed:
        wait_until(lambda: len(saved_steps(killed.run_dir)) >= 4)
        killed.kill()
    at_death = saved_steps(killed.run_dir)[-1]
    assert EPSILON_DECAY < at_death < LEARNING_RATE_DECAY

    with TrainingRun(tmp_path, "--resume", "latest", "--actors", "1", "--steps", str(COMPARED_STEPS)) as resumed:
        assert resumed.wait() == 0
    with TrainingRun(tmp_path, *COMPARED, "--steps", str(COMPARED_STEPS), name="unbroken") as unbroken:
        assert unbroken.wait() == 0

    assert_follows_its_schedules(resumed)
    assert_follows_its_schedules(unbroken)
    assert any(at_death < int(row["env_steps"]) for row in rows(resumed)), "no row of the resumed part"
    ends = newest_state(resumed.run_dir), newest_state(unbroken.run_dir)
    for state in ends:
        # Both end with the batch that reaches the last step: their counters differ by less than a batch.
        assert COMPARED_STEPS <= state["env_steps"] < COMPARED_STEPS + LONGEST_BATCH
        assert state["env_steps"] / LONGEST_BATCH <= state["updates"] <= state["env_steps"] / 64
        assert state["finished"] is True
    assert [ends[0]["settings"][name] for name in RunSettings.model_fields] == [
        ends[1]["settings"][name] for name in RunSettings.model_fields
    ]
    assert ends[0]["run"] | {"name": "unbroken"} == ends[1]["run"]
    assert [float(rows(run)[-1]["learning_rate"]) for run in (resumed, unbroken)] == [0.0, 0.0]
    # Checkpoints stand at the first batch past each thousand, before the kill and after it.
    thousands = [step // 1000 for step in saved_steps(resumed.run_dir) if step < COMPARED_STEPS]
    assert thousands == list(range(thousands[0], thousands[-1] + 1))


def rows(run: TrainingRun) -> list[dict[str, str]]:
    """The rows of metrics.csv that follow an update of their process."""
    with (run.run_dir / "metrics.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["learning_rate"]]


def assert_follows_its_schedules(run: TrainingRun) -> None:
    """Every row, before a kill and after it, has the learning rate and epsilon that its env_steps say."""
    steps = [int(row["env_steps"]) for row in rows(run)]
    assert steps == sorted(steps)
    for step, row in zip(steps, rows(run), strict=True):
        # The rate of an update is the one of the step before its batch.
        before = [max(0, step - LONGEST_BATCH), step - 64]
        highest, lowest = (schedules.learning_rate(LEARNING_RATE, LEARNING_RATE_DECAY, at) for at in before)
        assert lowest * 0.99999 <= float(row["learning_rate"]) <= highest * 1.00001
        # What is trained was played up to a capacity, and a publication, before.
        if step > EPSILON_DECAY + 1_000:
            assert float(row["epsilon"]) == exploration.FINAL_EPSILONS[0]


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


@pytest.mark.timeout(300)
def test_a_run_of_a_preset_goes_on_with_its_gate_and_its_actors(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *SETTINGS, "2000", *GATE_AND_ACTORS, "--steps", "2000") as run:
        assert run.wait() == 0
    asked = asked_for(run.run_dir)
    assert (asked["capacity"], asked["straggler_updates"], asked["lease_seconds"], asked["actors"]) == (2048, 9, 20, 2)

    with TrainingRun(tmp_path, "--resume", "latest", "--steps", "4000") as again:
        assert again.wait() == 0

    assert asked_for(again.run_dir) == asked | {"resume": "latest", "steps": 4000}


def asked_for(run_dir: Path) -> dict[str, Any]:
    """What the last start asked for, of all processes."""
    asked: dict[str, Any] = json.loads((run_dir / "train.json").read_text())["settings"]
    return asked
