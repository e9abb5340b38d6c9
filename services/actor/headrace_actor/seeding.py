"""Random numbers: a stream of its own for every purpose, environment, actor and life of a run.

A life is one session that played under an actor's index, so a restarted actor does not repeat its predecessor's games.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.random import Generator, SeedSequence


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    GAME = 0
    EXPLORATION = 1
    FINAL_EPSILON = 2


def stream(run_seed: int, actor: int, environment: int, life: int, purpose: Purpose) -> SeedSequence:
    """The root of one independent stream; equal for equal arguments."""
    return SeedSequence(run_seed, spawn_key=(actor, environment, life, purpose))


def game_seed(run_seed: int, actor: int, environment: int, life: int) -> int:
    """Seed of one environment, 0 to 2**31 - 1."""
    return int(stream(run_seed, actor, environment, life, Purpose.GAME).generate_state(1)[0] >> 1)


def exploration_generator(run_seed: int, actor: int, environment: int, life: int) -> Generator:
    """The random numbers that one environment explores with."""
    return np.random.default_rng(stream(run_seed, actor, environment, life, Purpose.EXPLORATION))


def final_epsilon_generator(run_seed: int, actor: int, environment: int) -> Generator:
    """The random numbers that choose an environment's final epsilon: the same in every life of its actor."""
    return np.random.default_rng(stream(run_seed, actor, environment, 0, Purpose.FINAL_EPSILON))
