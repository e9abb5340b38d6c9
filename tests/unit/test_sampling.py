"""Actors of a policy: they sample from it, remember their game, and do the same again for the same seed.

What an actor says of its network, the learner finds in the same states by the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_batch, a_run
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from headrace_actor.player import Player
from headrace_learner import evaluation
from headrace_proto import networks, rollouts
from headrace_proto.messages import Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.sampling import sample
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights


class Lives(gymnasium.Env[NDArray[np.float32], np.signedinteger[Any]]):
    """Seven steps that show random numbers; the fourth costs the first of two lives."""

    def __init__(self) -> None:
        self.observation_space = Box(-9, 9, (4,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._position = 0
        return self._shown()

    def step(self, action: np.signedinteger[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._position += 1
        observation, info = self._shown()
        return observation, 1.0, self._position == 7, False, info

    def _shown(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        return self.np_random.normal(size=4).astype(np.float32), {"lives": 2 - (self._position >= 4)}


@contextmanager
def game_of_lives() -> Iterator[None]:
    def make(**_: Any) -> Lives:
        return Lives()

    gymnasium.register("Lives-v0", make, disable_env_checker=True)
    try:
        yield
    finally:
        del gymnasium.registry["Lives-v0"]


def run_of(**changes: Any) -> RunSpecification:
    return a_run(**{"game": "Lives-v0", "head": "policy", "life_loss_terminal": True, **changes})


def weights_of(run: RunSpecification, seed: int, version: int = 1) -> Weights:
    """Weights whose policy is uneven and depends on what was seen."""
    torch.manual_seed(seed)
    tensors = {
        name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in networks.build_for(run).state_dict().items()
    }
    return Weights(1, version, 1000, tensors)


def played(run: RunSpecification, rounds: list[Weights], steps: int = 5) -> list[list[Rollout]]:
    """Rollouts of each round, one round by each of the weights."""
    welcome = Welcome(actor=0, life=0, lease_seconds=10.0, transitions_address="", weights_address="", run=run)
    player = Player(welcome, ActorMetrics(CollectorRegistry()))
    made = []
    for weights in rounds:
        player.begin_round(weights, steps)
        for _ in range(steps):
            player.step()
        made.append(player.end_round())
    player.close()
    return made


def probabilities_at_the_learner(run: RunSpecification, weights: Weights, made: list[Rollout]) -> NDArray[np.float32]:
    """What the policy gives each action taken, unrolled from the states that the rollouts carry."""
    network = networks.build_for(run)
    network.load_state_dict(weights.tensors)
    batch = a_batch(run, made)
    with torch.no_grad():
        logits, _ = network(batch.states, batch.sequences)
    chosen: NDArray[np.float32] = logits[: len(batch)].softmax(1)[torch.arange(len(batch)), batch.actions].numpy()
    return chosen


@given(
    logits=st.lists(st.floats(-200, 200, width=32), min_size=2, max_size=6),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_an_action_is_the_one_in_whose_share_of_the_unit_interval_the_number_lies(
    logits: list[float], uniform: float
) -> None:
    actions, probabilities = sample(np.array([logits], np.float32), np.array([uniform]))
    policy = torch.tensor(logits, dtype=torch.float64).softmax(0).numpy()
    action = int(actions[0])
    assert policy[:action].sum() - 1e-9 <= uniform <= policy[: action + 1].sum() + 1e-9
    assert probabilities[0] == pytest.approx(policy[action], rel=1e-5, abs=1e-30)


def test_actions_come_as_often_as_the_policy_says() -> None:
    logits = np.log(np.array([[0.5, 0.125, 0.375]], np.float32)).repeat(20_000, axis=0)
    actions, probabilities = sample(logits, np.random.default_rng(1).random(20_000))
    shares = np.bincount(actions) / 20_000
    np.testing.assert_allclose(shares, [0.5, 0.125, 0.375], atol=0.015)
    np.testing.assert_allclose(probabilities, np.array([0.5, 0.125, 0.375])[actions], rtol=1e-5)


@pytest.mark.parametrize("lstm", [False, True])
def test_the_learner_finds_the_probabilities_that_the_actor_acted_with(lstm: bool) -> None:
    # Over ends of games, a lost life, rounds and weights: only if what is remembered is carried as it should be.
    run = run_of(lstm=lstm)
    with game_of_lives():
        rounds = [weights_of(run, seed, version=seed) for seed in range(1, 7)]
        made = played(run, rounds)
    assert sum(rollout.terminated for part in made for rollout in part) > sum(
        rollout.episode_return is not None for part in made for rollout in part
    )
    for weights, part in zip(rounds, made, strict=True):
        acted = np.concatenate([rollout.behaviour_probabilities for rollout in part])
        assert acted.std() > 0.02
        np.testing.assert_allclose(probabilities_at_the_learner(run, weights, part), acted, rtol=1e-4)


def test_the_learner_finds_the_values_that_the_actor_found_when_it_acted() -> None:
    run = run_of(head="values", environments_per_actor=3, final_epsilon=0.5)
    with game_of_lives():
        rounds = [weights_of(run, seed, version=seed) for seed in range(1, 7)]
        made = played(run, rounds)
    assert {len(rollout) for part in made for rollout in part} == {1, 2, 3, 4}  # cut by games, lives and rounds
    network = networks.build_for(run)
    for weights, part in zip(rounds, made, strict=True):
        network.load_state_dict(weights.tensors)
        batch = a_batch(run, part)
        assert batch.behaviour_values is not None
        with torch.no_grad():
            expected = network(batch.acted_states).amax(1).numpy()
        assert expected.std() > 0.02
        np.testing.assert_allclose(batch.behaviour_values, expected, rtol=1e-4)


def test_a_rollout_carries_what_was_remembered_and_a_game_begins_with_nothing() -> None:
    run = run_of(lstm=True, environments_per_actor=1)
    with game_of_lives():
        rounds = played(run, [weights_of(run, 1)] * 4)
    made = [rollout for part in rounds for rollout in part]
    ends = [rollout.episode_return is not None for rollout in made]
    begins = [True, *ends[:-1]]
    assert (begins.count(True), len(made)) == (3, 7)
    for rollout, begins_game in zip(made, begins, strict=True):
        assert rollout.recurrent_state is not None
        assert bool((rollout.recurrent_state == 0).all()) == begins_game
        rollouts.decode(rollout.encode(), run, len(rollout))


def test_without_an_lstm_nothing_is_carried() -> None:
    with game_of_lives():
        ((rollout, *_),) = played(run_of(), [weights_of(run_of(), 1)])
    assert (rollout.recurrent_state, rollout.epsilon) == (None, 0.0)


@pytest.mark.parametrize("lstm", [False, True])
def test_the_same_actor_samples_the_same_game_again(lstm: bool) -> None:
    run = run_of(lstm=lstm)
    with game_of_lives():
        first, second = ([r.encode() for r in played(run, [weights_of(run, 1)])[0]] for _ in range(2))
    assert first == second


class Recorder:
    """A policy that notes which environments begin a game, and before which step."""

    def __init__(self) -> None:
        self.steps = 0
        self.begun: list[tuple[int, int]] = []

    def actions(self, states: NDArray[Any]) -> NDArray[np.int64]:
        self.steps += 1
        return np.zeros(len(states), np.int64)

    def begin_game(self, environment: int) -> None:
        self.begun.append((self.steps, environment))


def test_an_evaluation_forgets_the_game_before_when_the_next_one_begins() -> None:
    policy: Any = Recorder()
    with game_of_lives():
        scores = [score for ended in evaluation.play_games(policy, run_of(), 3, 1) for score in ended]
        assert policy.begun == []
        list(evaluation.play_games(policy, run_of(), 9, 1))
    assert scores == [7.0] * 3
    # Seven steps and the eighth that resets: what is chosen from the ninth on belongs to the next game.
    assert policy.begun == [(7 + 8, environment) for environment in range(8)]
