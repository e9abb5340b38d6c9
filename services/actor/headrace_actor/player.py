"""The player: all environments of an actor, stepped together under one policy and cut into rollouts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from headrace_actor import policy, seeding
from headrace_actor.rollout_builder import Choice, Outcome, RolloutBuilder
from headrace_proto import environments
from headrace_proto.environments import VectorEnvironment
from headrace_proto.errors import UserError
from headrace_proto.messages import Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.sampling import Choices
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights


class Player:
    """Plays rounds: `begin_round`, any number of `step`, `end_round`."""

    def __init__(self, welcome: Welcome, metrics: ActorMetrics, vector: VectorEnvironment | None = None) -> None:
        """Begin every game, of new environments where none are given.

        Raises UserError where this machine's game is not the learner's.
        """
        self._run = run = welcome.run
        self._metrics = metrics
        self.policy = policy.make(run, welcome.actor)
        count = run.environments_per_actor
        keys = [(run.seed, welcome.actor, environment, welcome.life) for environment in range(count)]
        self._generators = [seeding.exploration_generator(*key) for key in keys]
        self._builders = [RolloutBuilder(environment, run) for environment in range(count)]
        self._finished: list[Rollout] = []
        self._uniforms = np.empty((0, count, 2))
        self._steps_played = 0
        self._game_over = [False] * count
        self._vector = environments.make_vector(run) if vector is None else vector
        _check_spaces(self._vector, run)
        self._states = self._reset([seeding.game_seed(*key) for key in keys])

    def begin_round(self, weights: Weights, steps: int) -> None:
        """Play at most `steps` steps by these weights, and explore as their env_steps say."""
        self.policy.begin_round(weights)
        self._metrics.weights_version.set(weights.version)
        for builder, epsilon in zip(self._builders, self.policy.epsilons.tolist(), strict=True):
            builder.begin_round(epsilon)
        self._uniforms = np.stack([generator.random((steps, 2)) for generator in self._generators], axis=1)
        self._steps_played = 0

    def step(self) -> int:
        """Step every environment once and return how many transitions that made."""
        started = time.perf_counter()
        choices = self.policy.choose(self._states, self._uniforms[self._steps_played])
        self._metrics.inference_seconds.observe(time.perf_counter() - started)
        self._steps_played += 1
        observations, rewards, terminated, truncated, info = self._vector.step(choices.actions)
        next_states = environments.stacked(observations, self._run)
        outcomes = _outcomes(rewards, terminated, truncated, info)
        made = self._collect(choices, outcomes, next_states)
        self._states = next_states
        self._game_over = [outcome.terminated or outcome.truncated for outcome in outcomes]
        self._metrics.env_steps.inc(made)
        self._metrics.frames.inc(made * self._run.frame_skip)
        return made

    def end_round(self) -> list[Rollout]:
        """Hand over all rollouts of the round, those that it cuts short included."""
        self._finished += [rollout for builder in self._builders if (rollout := builder.end_round())]
        rollouts, self._finished = self._finished, []
        return rollouts

    def close(self) -> None:
        """Close the environments."""
        self._vector.close()

    def _reset(self, seeds: list[int]) -> NDArray[Any]:
        atari = environments.find_game(self._run.game).is_atari
        # Both kinds take one seed for each environment, whatever their common base class declares.
        seed: Any = np.array(seeds) if atari else seeds
        observations, info = self._vector.reset(seed=seed)
        for builder, lives in zip(self._builders, _lives(info, len(seeds)), strict=True):
            builder.begin_game(lives)
        return environments.stacked(observations, self._run)

    def _collect(self, choices: Choices, outcomes: list[Outcome], next_states: NDArray[Any]) -> int:
        made = 0
        for index, (builder, choice, outcome) in enumerate(zip(self._builders, _each(choices), outcomes, strict=True)):
            if self._game_over[index]:
                # The step after a game's end only resets it, whatever the action: not a transition.
                builder.begin_game(outcome.lives)
                self.policy.begin_game(index)
                continue
            made += 1
            if choices.recurrent_states is not None:
                builder.remember(choices.recurrent_states[index])
            rollout = builder.add(self._states[index], choice, outcome, next_states[index])
            if rollout is not None:
                self._finished.append(rollout)
                self._count_game(rollout)
        return made

    def _count_game(self, rollout: Rollout) -> None:
        if rollout.episode_return is not None and rollout.episode_length is not None:
            self._metrics.episodes.inc()
            self._metrics.episode_return.observe(rollout.episode_return)
            self._metrics.episode_length.observe(rollout.episode_length)


def _each(choices: Choices) -> list[Choice]:
    values = [None] * len(choices.actions) if choices.values is None else choices.values.tolist()
    columns = zip(choices.actions.tolist(), choices.probabilities.tolist(), values, strict=True)
    return [Choice(*row) for row in columns]


def _outcomes(
    rewards: NDArray[Any], terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], info: dict[str, Any]
) -> list[Outcome]:
    lives = _lives(info, len(rewards))
    columns = zip(map(float, rewards.tolist()), terminated.tolist(), truncated.tolist(), lives, strict=True)
    return [Outcome(*row) for row in columns]


def _lives(info: dict[str, Any], count: int) -> list[int | None]:
    lives = info.get("lives")
    return [None] * count if lives is None else lives.tolist()


def _check_spaces(vector: VectorEnvironment, run: RunSpecification) -> None:
    assert isinstance(vector.single_action_space, Discrete)
    found = (int(vector.single_action_space.n), vector.single_observation_space.shape)
    states = run.state_shape if environments.find_game(run.game).is_atari else tuple(run.frame_shape)
    if found != (run.actions, states):
        raise UserError(
            f"--game {run.game}: here it has {found[0]} actions and observations {found[1]}, at the learner "
            f"{run.actions} and {states}; run the same releases of ale-py and gymnasium on both machines"
        )
