"""Player and learner together, without services: each algorithm learns what pays only steps later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from small_training import train

from headrace_learner.training import Learner
from headrace_proto.networks import Sequences
from headrace_proto.run_settings import RunSettings

COMBINATION = (0, 1, 1, 0, 1, 0)
LONGEST_GAME = 20

DISCOUNT = 0.95


class Lock(gymnasium.Env[NDArray[np.float32], np.signedinteger[Any]]):
    """Opens, and pays 1, after six actions of a combination; a wrong one undoes the one before. Time is up after 20.

    Which action is right changes from place to place, so that one who always does the same never opens it.
    """

    def __init__(self) -> None:
        self.observation_space = Box(0, 1, (len(COMBINATION) + 1,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._place = self._steps = 0
        return self._seen(), {}

    def step(self, action: np.signedinteger[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._place = self._place + 1 if action == COMBINATION[self._place] else max(0, self._place - 1)
        is_open = self._place == len(COMBINATION)
        return self._seen(), float(is_open), is_open, self._steps == LONGEST_GAME and not is_open, {}

    def _seen(self) -> NDArray[np.float32]:
        seen: NDArray[np.float32] = np.eye(len(COMBINATION) + 1, dtype=np.float32)[self._place]
        return seen


class Recall(gymnasium.Env[NDArray[np.float32], np.signedinteger[Any]]):
    """Shows one of two cues, then nothing for three steps, and pays 1 for the action that the cue named.

    Who sees only the present state is right in half of the games.
    """

    def __init__(self) -> None:
        self.observation_space = Box(0, 1, (3,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._cue = int(self.np_random.integers(2))
        self._steps = 0
        return np.eye(3, dtype=np.float32)[self._cue], {}

    def step(self, action: np.signedinteger[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        is_over = self._steps == 4
        return np.eye(3, dtype=np.float32)[2], float(is_over and action == self._cue), is_over, False, {}


@pytest.fixture(autouse=True)
def _games() -> Iterator[None]:
    games: dict[str, type[Lock | Recall]] = {"Lock-v0": Lock, "Recall-v0": Recall}
    for name, game in games.items():
        gymnasium.register(name, lambda game=game, **_: game(), disable_env_checker=True)
    yield
    for name in games:
        del gymnasium.registry[name]


PLACES = torch.eye(len(COMBINATION) + 1)[:-1, None]
"""The states in which an action is asked for."""

WORTH = [DISCOUNT**steps for steps in (5, 4, 3, 2, 1, 0)]
"""Of each place, to one who opens the lock without a mistake."""


def a_learner(algorithm: str, **settings: Any) -> Learner:
    """After 51,200 steps, by which it opens the lock: actions at random open it in three games of ten."""
    common = {"discount": DISCOUNT, "learning_rate": 1e-3, "rollout_length": 8, "steps": 50_000}
    learner = train(RunSettings(**{"game": "Lock-v0", "algorithm": algorithm, **common, **settings}), 800)
    mean = learner.counters.return_mean
    assert mean is not None
    assert mean >= 0.95  # of the last 100 games, exploration included
    return learner


EXPLORING: dict[str, Any] = {
    "target_update_every": 640,
    "exploration": "same",
    "final_epsilon": 0.05,
    "epsilon_decay_steps": 20_000,
}


def assert_knows_each_place(learner: Learner) -> None:
    values, actions = learner.online(PLACES).max(1)
    assert tuple(actions.tolist()) == COMBINATION
    assert values.tolist() == pytest.approx(WORTH, abs=0.05)


@pytest.mark.parametrize("algorithm", ["pqn", "nstep-q", "one-step-q", "one-step-sarsa"])
def test_it_opens_a_lock_that_pays_after_six_right_actions_and_knows_what_each_place_is_worth(algorithm: str) -> None:
    assert_knows_each_place(a_learner(algorithm, **EXPLORING))


@pytest.mark.parametrize("traces", ["importance", "retrace"])
def test_traces_that_are_cut_teach_it_the_same(traces: str) -> None:
    assert_knows_each_place(a_learner("pqn", **EXPLORING, traces=traces, trace_decay=0.9))


@pytest.mark.parametrize(("algorithm", "replay"), [("one-step-q", "uniform"), ("nstep-q", "prioritized")])
def test_samples_from_a_replay_teach_it_the_same(algorithm: str, replay: str) -> None:
    sampling = {
        "replay": replay,
        "replay_max_size": 10_000,
        "replay_min_size_to_sample": 1_000,
        "samples_per_insert": 1,
    }
    learner = a_learner(algorithm, **EXPLORING, **sampling, n_step=3)
    assert_knows_each_place(learner)
    assert learner.counters.updates == (learner.counters.env_steps - 1_000) // learner.settings.batch_size


def test_the_policy_of_a3c_is_the_combination_and_its_values_are_what_each_place_is_worth() -> None:
    learner = a_learner("a3c")
    rollouts = torch.arange(len(PLACES))  # each place alone
    logits, values = learner.online(PLACES, Sequences(rollouts, torch.zeros_like(rollouts), 1, None))
    assert tuple(logits.argmax(1).tolist()) == COMBINATION
    assert values.tolist() == pytest.approx(WORTH, abs=0.1)  # its policy still explores


def test_an_lstm_remembers_what_the_state_no_longer_shows() -> None:
    settings = RunSettings(
        game="Recall-v0", algorithm="a3c", lstm=True, learning_rate=1e-3, rollout_length=8, steps=200_000
    )
    learner = train(settings, 3_000, until_return=0.95)
    assert learner.counters.return_mean is not None
    assert learner.counters.return_mean >= 0.95  # by the present state alone 0.5
