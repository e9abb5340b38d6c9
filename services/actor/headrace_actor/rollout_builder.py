"""Builds the rollouts of one environment, step by step, sharing the frames between their states."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace_proto.rollouts import Rollout
from headrace_proto.specification import RunSpecification


class Outcome(NamedTuple):
    """What one environment answered to one action; `lives` is None where the game has none."""

    reward: float
    terminated: bool
    truncated: bool
    lives: int | None


class Choice(NamedTuple):
    """An action, its probability under the behaviour policy, and the state's highest value; None of a policy."""

    action: int
    probability: float
    value: float | None


class RolloutBuilder:
    """Collects transitions of one environment until the rollout is full, the episode ends or the round does.

    The score counts over the whole game, also where a lost life ends the episode for learning.
    """

    def __init__(self, environment: int, run: RunSpecification) -> None:
        self._environment = environment
        self._run = run
        self._epsilon = 1.0
        self._frames = self._new_frames()
        self._recurrent_state: NDArray[np.float32] | None = None
        self._choices: list[Choice] = []
        self._rewards: list[float] = []
        self.begin_game(None)

    def __len__(self) -> int:
        """Number of transitions in the making."""
        return len(self._choices)

    def begin_game(self, lives: int | None) -> None:
        """A new game stands at its first state."""
        self.game_return = 0.0
        self.game_length = 0
        self._lives = lives

    def begin_round(self, epsilon: float) -> None:
        """Rollouts from here on are played with this epsilon."""
        self._epsilon = epsilon

    def remember(self, recurrent_state: NDArray[np.float32]) -> None:
        """What the network remembers before the transition that is added next, float32 [2, LSTM_UNITS]."""
        if not self._choices:
            self._recurrent_state = recurrent_state.copy()

    def add(self, state: NDArray[Any], choice: Choice, outcome: Outcome, next_state: NDArray[Any]) -> Rollout | None:
        """Add a transition and return the rollout if that completed it.

        state, next_state: [S, *frame_shape], next_state[:-1] equal to state[1:]
        """
        stack = self._run.frame_stack
        count = len(self._choices)
        if count == 0:
            self._frames[:stack] = state
        self._frames[stack + count] = next_state[-1]
        self._choices.append(choice)
        self._rewards.append(self._clipped(outcome.reward))
        self.game_return += outcome.reward
        self.game_length += 1
        terminated = outcome.terminated or self._life_lost(outcome.lives)
        if terminated or outcome.truncated or count + 1 == self._run.rollout_length:
            game_over = outcome.terminated or outcome.truncated
            return self._complete(terminated, outcome.truncated and not terminated, game_over)
        return None

    def end_round(self) -> Rollout | None:
        """The rollout in the making, cut short where the round ends, if there is one."""
        return self._complete(terminated=False, truncated=False, game_over=False) if self._choices else None

    def _complete(self, terminated: bool, truncated: bool, game_over: bool) -> Rollout:
        count = len(self._choices)
        actions, probabilities, values = zip(*self._choices, strict=True)
        rollout = Rollout(
            frames=self._frames[: count + self._run.frame_stack],
            actions=np.array(actions, np.int32),
            rewards=np.array(self._rewards, np.float32),
            behaviour_probabilities=np.array(probabilities, np.float32),
            behaviour_values=np.array(values, np.float32) if self._run.head == "values" else None,
            recurrent_state=self._recurrent_state,
            terminated=terminated,
            truncated=truncated,
            n_step=self._run.n_step,
            environment=self._environment,
            epsilon=self._epsilon,
            episode_return=self.game_return if game_over else None,
            episode_length=self.game_length if game_over else None,
        )
        # The frames now belong to the rollout; the next one gets its own.
        self._frames = self._new_frames()
        self._choices, self._rewards = [], []
        return rollout

    def _life_lost(self, lives: int | None) -> bool:
        before, self._lives = self._lives, lives
        return self._run.life_loss_terminal and before is not None and lives is not None and lives < before

    def _clipped(self, reward: float) -> float:
        limit = self._run.reward_clip
        return max(-limit, min(limit, reward)) if limit else reward

    def _new_frames(self) -> NDArray[Any]:
        run = self._run
        return np.empty((run.rollout_length + run.frame_stack, *run.frame_shape), run.frame_dtype)
