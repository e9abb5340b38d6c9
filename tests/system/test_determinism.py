"""`--deterministic`: the same seed gives the same parameters, bit for bit, through the real services."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from system.training_run import TrainingRun

UPDATES = 2_000
STEPS = 24 * UPDATES
"""A batch of 16 has about 20: whole rollouts of at most 16, shorter where a game ends."""

CARTPOLE = (
    *("--deterministic", "--game", "CartPole-v1", "--batch-size", "16", "--rollout-length", "16"),
    *("--steps", str(STEPS), "--publish-every", "64", "--epsilon-decay-steps", "10000"),
    *("--lease-seconds", "120"),
)
EPOCHS = 3
EPOCH_STEPS = 1_250
"""Long enough that a game of Pong ends, which takes who plays at random 850 to 1,100 steps."""

PONG = (
    *("--deterministic", "--game", "Pong", "--environments-per-actor", "1", "--steps", str(EPOCHS * EPOCH_STEPS)),
    *("--save-every", str(EPOCH_STEPS), "--keep", "100", "--epsilon-decay-steps", "2000", "--lease-seconds", "120"),
)


def parameters(run: TrainingRun) -> tuple[int, dict[str, NDArray[np.generic]]]:
    """Updates of the last checkpoint, and its networks, optimizer and random numbers."""
    newest = max((run.run_dir / "checkpoints").glob("step-*"))
    updates: int = json.loads((newest / "state.json").read_text())["updates"]
    return updates, load_file(newest / "model.safetensors")


def are_the_same(one: dict[str, NDArray[np.generic]], other: dict[str, NDArray[np.generic]]) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def train_all(folder: Path, arguments: tuple[str, ...], disturbed: str, **seeds: str) -> dict[str, TrainingRun]:
    """Runs of these names and seeds, beside each other; the processes of one are halted again and again."""
    with ExitStack() as stack:
        runs = {
            name: stack.enter_context(TrainingRun(folder, *arguments, "--seed", seed, name=name))
            for name, seed in seeds.items()
        }
        runs[disturbed].wait_for_steps(1)
        halt_by_turns(runs[disturbed])
        for run in runs.values():
            assert run.wait(600) == 0
    return runs


def halt_by_turns(run: TrainingRun) -> None:
    """Until the run ends, stop one of its processes after another for a moment, so that all happens at other times."""
    random = np.random.default_rng(0)
    pids = [run.pid(name) for name in ("gate", "learner", "actor-0")]
    while run.is_running:
        with suppress(ProcessLookupError):
            pid = int(random.choice(pids))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(random.uniform(0, 0.05))
            os.kill(pid, signal.SIGCONT)
        time.sleep(random.uniform(0, 0.2))


@pytest.mark.timeout(1500)
def test_after_2000_updates_the_same_seed_has_the_same_parameters_and_another_has_others(tmp_path: Path) -> None:
    runs = train_all(tmp_path, CARTPOLE, "again", one="7", another="8", again="7")

    (updates, one), (updates_again, again), (_, another) = (
        parameters(runs[name]) for name in ("one", "again", "another")
    )
    assert updates >= UPDATES
    assert updates == updates_again
    assert {name.split("/")[0] for name in one} == {"online", "evaluated", "optimizer", "random"}
    assert are_the_same(one, again)
    assert not are_the_same(one, another)
    for name in ("one", "again"):
        assert "deterministic no longer" not in (runs[name].run_dir / "logs" / "gate.log").read_text()


@pytest.mark.timeout(900)
def test_so_it_is_with_an_atari_game_over_epochs_in_which_games_end(tmp_path: Path) -> None:
    runs = train_all(tmp_path, PONG, "again", one="7", again="7")

    (updates, one), (updates_again, again) = (parameters(runs[name]) for name in ("one", "again"))

    checkpoints = sorted((runs["one"].run_dir / "checkpoints").glob("step-*"))
    assert len(checkpoints) >= EPOCHS
    assert json.loads((checkpoints[-1] / "state.json").read_text())["episodes"] > 0
    assert updates == updates_again > 50
    assert are_the_same(one, again)
