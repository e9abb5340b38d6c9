"""`--deterministic`: a run that is killed and resumed again and again ends with the parameters of one that was not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from system.test_determinism import are_the_same, parameters
from system.training_run import TrainingRun

STEPS = 20_000
SAVE_EVERY = 1_000
KILLS = 10

RUN = (
    *("--deterministic", "--game", "CartPole-v1", "--batch-size", "16", "--rollout-length", "16"),
    *("--save-every", str(SAVE_EVERY), "--keep", "100", "--publish-every", "64", "--epsilon-decay-steps", "10000"),
    *("--learning-rate-decay-steps", str(STEPS), "--lease-seconds", "3"),
)
ATARI_STEPS = 2_000
ATARI_SAVE_EVERY = 500
ATARI = (
    *("--deterministic", "--game", "Pong", "--environments-per-actor", "2", "--epsilon-decay-steps", "1000"),
    *("--save-every", str(ATARI_SAVE_EVERY), "--keep", "100"),
    # An emulator's games take seconds to start where others use the machine, and the actor's lease goes on meanwhile.
    *("--lease-seconds", "20"),
)
PROCESSES = ("gate", "learner", "actor-0")


def moments(seed: int) -> Iterator[int]:
    """Random env_steps, in order, at which to kill; the first before there is a checkpoint but that of the start."""
    yield SAVE_EVERY // 2
    yield from sorted(np.random.default_rng(seed).integers(SAVE_EVERY, STEPS - SAVE_EVERY, KILLS - 1).tolist())


def kill_at(run: TrainingRun, env_steps: int) -> None:
    """SIGKILL to the whole run, all of its processes at once, when it has trained so far."""
    run.wait_for_steps(env_steps, seconds=600)
    for name in PROCESSES:
        with suppress(ProcessLookupError):
            os.kill(run.pid(name), signal.SIGKILL)
    run.kill()
    assert run.wait() != 0, "it has finished before it was killed"


@pytest.mark.timeout(1200)
def test_a_run_killed_ten_times_at_random_moments_ends_with_the_parameters_of_one_that_was_not(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *RUN, "--steps", str(STEPS), name="unbroken") as unbroken:
        assert unbroken.wait(600) == 0

    how: tuple[str, ...] = RUN
    for moment in moments(seed=1):
        with TrainingRun(tmp_path, *how, "--steps", str(STEPS), name="killed") as killed:
            kill_at(killed, moment)
        how = ("--resume", "latest")
    with TrainingRun(tmp_path, *how, "--steps", str(STEPS), name="killed") as killed:
        assert killed.wait(600) == 0

    assert parameters(unbroken)[0] == parameters(killed)[0]
    assert are_the_same(parameters(unbroken)[1], parameters(killed)[1])


@pytest.mark.timeout(1200)
def test_so_does_a_run_whose_processes_are_killed_one_by_one_and_restarted(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *RUN, "--steps", str(STEPS), name="unbroken") as unbroken:
        assert unbroken.wait(600) == 0

    with TrainingRun(tmp_path, *RUN, "--steps", str(STEPS), name="killed") as killed:
        for process, moment in zip(cycle(PROCESSES), moments(seed=2), strict=False):
            killed.wait_for_steps(moment)
            killed.signal(process, signal.SIGKILL)
        assert killed.wait(600) == 0

    assert len(killed.events("died")) >= KILLS
    assert parameters(unbroken)[0] == parameters(killed)[0]
    assert are_the_same(parameters(unbroken)[1], parameters(killed)[1])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_so_does_an_atari_run_that_is_killed_between_two_checkpoints(precision: str, tmp_path: Path) -> None:
    atari = (*ATARI, "--precision", precision)
    with TrainingRun(tmp_path, *atari, "--steps", str(ATARI_STEPS), name="unbroken") as unbroken:
        assert unbroken.wait(600) == 0

    with TrainingRun(tmp_path, *atari, "--steps", str(ATARI_STEPS), name="killed") as killed:
        kill_at(killed, 2 * ATARI_SAVE_EVERY + ATARI_SAVE_EVERY // 2)
    with TrainingRun(tmp_path, "--resume", "latest", "--steps", str(ATARI_STEPS), name="killed") as killed:
        assert killed.wait(600) == 0

    assert parameters(unbroken)[0] == parameters(killed)[0]
    assert are_the_same(parameters(unbroken)[1], parameters(killed)[1])
