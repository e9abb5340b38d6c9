"""Player and learner together, without services: what an LSTM is for, it learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from small_training import train

from headrace_proto.run_settings import RunSettings


class Recall(gymnasium.Env[NDArray[np.float32], np.signedinteger[Any]]):
    """Shows 1 or -1 once, nothing in the next four steps, and pays 1 for naming it at the end, else -1."""

    def __init__(self) -> None:
        self.observation_space = Box(-1, 1, (2,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._position = 0
        self._answer = int(self.np_random.integers(2))
        return np.array([2 * self._answer - 1, 0], np.float32), {}

    def step(self, action: np.signedinteger[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._position += 1
        over = self._position == 5
        reward = (1.0 if action == self._answer else -1.0) if over else 0.0
        return np.array([0, self._position == 4], np.float32), reward, over, False, {}


@pytest.fixture(autouse=True)
def _recall() -> Iterator[None]:
    def make(**_: Any) -> Recall:
        return Recall()

    gymnasium.register("Recall-v0", make, disable_env_checker=True)
    yield
    del gymnasium.registry["Recall-v0"]


def return_after(updates: int, *, lstm: bool) -> float:
    settings = RunSettings(
        game="Recall-v0",
        algorithm="a3c",
        lstm=lstm,
        rollout_length=8,
        n_step=8,
        optimizer="adam",
        learning_rate=3e-3,
        steps=200_000,
    )
    mean = train(settings, updates, until_return=0.9).counters.return_mean
    assert mean is not None
    return mean


def test_with_an_lstm_it_answers_by_what_it_saw_four_steps_before() -> None:
    assert return_after(1000, lstm=True) >= 0.9


def test_without_one_it_can_only_guess() -> None:
    assert return_after(150, lstm=False) < 0.6
