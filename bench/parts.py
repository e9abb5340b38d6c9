"""The parts of a run alone, each on one core with one thread: environments, inference, training.

Each is the product's own code: the actor's vector environment, its policy with a batch of all its environments, and the
learner's step on a batch of its usual size, with everything that step computes. What lies between the parts is left out
(rollouts, encoding, sockets, the gate, assembling batches): their sum makes the bound that a run is held against.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from itertools import cycle
from typing import Any

import numpy as np
import played
import torch

from headrace_actor import policy
from headrace_learner import freed_memory
from headrace_learner.training import Learner, choose_device
from headrace_proto import environments
from headrace_proto.settings import TrainSettings
from headrace_proto.specification import RunSpecification

BATCHES = 8
"""Different batches that training turns over, so that it does not find the last one's frames in the cache."""

PARTS = ("environment", "inference", "training")


def measure(arguments: list[str], seconds: float, core: int) -> dict[str, float]:
    """Seconds for one transition of each part, by name, measured one after another for so long on a core."""
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    freed_memory.keep()  # as the learner does
    settings = played.settings_of(arguments)
    specification = played.specify(settings)
    learner = Learner(settings, specification, choose_device("cpu"))
    return {
        "environment": environment_seconds(specification, seconds),
        "inference": inference_seconds(specification, learner, seconds),
        "training": training_seconds(settings, specification, learner, seconds),
    }


def environment_seconds(specification: RunSpecification, seconds: float) -> float:
    """Seconds for a transition of the actor's vector environment under random actions."""
    random = np.random.default_rng(1)
    count = specification.environments_per_actor
    with closing(environments.make_vector(specification)) as vector:
        vector.reset(seed=_seeds(specification))
        is_over = np.zeros(count, dtype=np.bool_)

        def step() -> int:
            nonlocal is_over
            observations, _, terminated, truncated, _ = vector.step(random.integers(specification.actions, size=count))
            environments.stacked(observations, specification)
            made = int(count - is_over.sum())  # the step after a game's end only resets it
            is_over = terminated | truncated
            return made

        return seconds_for_one(step, seconds)


def inference_seconds(specification: RunSpecification, learner: Learner, seconds: float) -> float:
    """Seconds for a transition of the actor's policy, which chooses for all its environments at once."""
    count = specification.environments_per_actor
    acting = policy.make(specification, actor=0)
    acting.begin_round(played.weights_of(learner))
    states = cycle(_states(specification, learner))
    uniforms = np.random.default_rng(1).random((count, 2))

    def choose() -> int:
        acting.choose(next(states), uniforms)
        return count

    return seconds_for_one(choose, seconds)


def training_seconds(
    settings: TrainSettings, specification: RunSpecification, learner: Learner, seconds: float
) -> float:
    """Seconds for a transition of the learner's step on a batch, all its optimizer steps and targets included."""
    batches = cycle(played.batches_of(specification, learner, BATCHES))

    def train() -> int:
        batch = next(batches)
        learner.train(batch)
        return len(batch)

    return seconds_for_one(train, seconds)


def seconds_for_one(work: Callable[[], int], seconds: float) -> float:
    """Seconds for each thing that `work` says it did, called for so long after a fifth of that to warm up."""
    _until(time.perf_counter() + seconds / 5, work)
    started = time.perf_counter()
    done = _until(started + seconds, work)
    return (time.perf_counter() - started) / done


def _seeds(specification: RunSpecification) -> Any:
    """One for each environment, in the form that either kind of vector environment takes."""
    seeds = list(range(specification.environments_per_actor))
    return np.array(seeds) if environments.find_game(specification.game).is_atari else seeds


def _until(deadline: float, work: Callable[[], int]) -> int:
    done = work()
    while time.perf_counter() < deadline:
        done += work()
    return done


def _states(specification: RunSpecification, learner: Learner) -> list[np.ndarray]:
    """States of different moments, each as the vector environment gives them: [environments, S, 84, 84], contiguous."""
    count = specification.environments_per_actor
    batch = played.batches_of(specification, learner, 1)[0]
    states = batch.acted_states.numpy()
    return [np.ascontiguousarray(states[start : start + count]) for start in range(0, len(states) - count + 1, count)]
