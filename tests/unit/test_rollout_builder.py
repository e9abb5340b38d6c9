"""Rollouts as an actor makes them: shared frames, episode ends, lives, scores, and the credit that they use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_run
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from headrace_actor.player import Player
from headrace_actor.rollout_builder import Choice, Outcome, RolloutBuilder
from headrace_proto import networks, rollouts
from headrace_proto.errors import UserError
from headrace_proto.messages import Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights

GOING_ON = Outcome(reward=0.0, terminated=False, truncated=False, lives=None)


def run_of(**changes: Any) -> RunSpecification:
    fields = {"game": "Corridor-v0", "n_step": 3, "frame_shape": [1], "reward_clip": 1.0, "frame_skip": 4}
    return a_run(**{**fields, "noop_max": 30, "max_episode_frames": 108_000, **changes})


BREAKOUT = {
    "game": "ALE/Breakout-v5",
    "network": "dqn-2013",
    "frame_shape": [84, 84],
    "frame_dtype": "|u1",
    "frame_stack": 4,
    "actions": 4,
}


def frame(value: int) -> NDArray[np.float32]:
    """A state of one frame that shows a number."""
    return np.full((1, 1), value, np.float32)


class Corridor(gymnasium.Env[NDArray[np.float32], np.signedinteger[Any]]):
    """Counts its steps; ends after `length` of them, terminated or truncated, and pays 3 at each."""

    def __init__(self, length: int, truncates: bool = False) -> None:
        self.observation_space = Box(-1e9, 1e9, (1,), np.float32)
        self.action_space = Discrete(2)
        self._length = length
        self._truncates = truncates

    def reset(self, **_: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self._position = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.signedinteger[Any]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self._position += 1
        over = self._position == self._length
        observation = np.full(1, self._position, np.float32)
        return observation, 3.0, over and not self._truncates, over and self._truncates, {}


@contextmanager
def corridor(length: int, truncates: bool = False) -> Iterator[None]:
    def make(**_: Any) -> Corridor:
        return Corridor(length, truncates)

    gymnasium.register("Corridor-v0", make, disable_env_checker=True)
    try:
        yield
    finally:
        del gymnasium.registry["Corridor-v0"]


def player_of(run: RunSpecification, actor: int = 0, life: int = 0) -> tuple[Player, ActorMetrics, Weights]:
    metrics = ActorMetrics(CollectorRegistry())
    welcome = Welcome(actor=actor, life=life, lease_seconds=10.0, transitions_address="", weights_address="", run=run)
    weights = Weights(1, 7, 1_000_000, dict(networks.build_for(run).state_dict()))
    return Player(welcome, metrics), metrics, weights


def rounds(player: Player, weights: Weights, steps: int, count: int = 1) -> list[list[Rollout]]:
    """Rollouts of each of `count` rounds."""
    played = []
    for _ in range(count):
        player.begin_round(weights, steps)
        for _ in range(steps):
            player.step()
        played.append(player.end_round())
    return played


def test_a_rollout_is_full_after_its_length_and_shares_its_frames() -> None:
    builder = RolloutBuilder(4, run_of(rollout_length=3))
    builder.begin_round(0.25)
    made = [builder.add(frame(t), Choice(t % 2, 0.5, t / 2), GOING_ON, frame(t + 1)) for t in range(3)]
    assert made[:2] == [None, None]
    rollout = made[2]
    assert rollout is not None
    assert rollout.frames[:, 0].tolist() == [0, 1, 2, 3]
    assert rollout.actions.tolist() == [0, 1, 0]
    assert rollout.behaviour_probabilities.tolist() == [0.5, 0.5, 0.5]
    assert rollout.behaviour_values is not None
    assert rollout.behaviour_values.tolist() == [0.0, 0.5, 1.0]
    assert (rollout.environment, rollout.epsilon, rollout.n_step) == (4, 0.25, 3)
    assert (rollout.terminated, rollout.truncated, rollout.episode_return) == (False, False, None)
    rollouts.decode(rollout.encode(), run_of(rollout_length=3), 3)


def test_a_rollout_holds_copies_of_what_the_environment_shows() -> None:
    builder = RolloutBuilder(0, run_of(rollout_length=2))
    shown = frame(1)
    builder.add(shown, Choice(0, 1.0, 7.5), GOING_ON, shown)
    shown[:] = 9
    first = builder.add(shown, Choice(0, 1.0, 7.5), GOING_ON, shown)
    shown[:] = 99
    builder.add(shown, Choice(0, 1.0, 7.5), GOING_ON, shown)
    assert first is not None
    assert first.frames[:, 0].tolist() == [1, 1, 9]


def test_the_end_of_a_round_cuts_a_rollout_short() -> None:
    builder = RolloutBuilder(0, run_of())
    builder.add(frame(0), Choice(0, 1.0, 7.5), GOING_ON, frame(1))
    rollout = builder.end_round()
    assert rollout is not None
    assert (len(rollout), rollout.terminated, rollout.truncated) == (1, False, False)
    assert builder.end_round() is None


@pytest.mark.parametrize("truncated", [False, True])
def test_the_end_of_a_game_ends_the_rollout_and_tells_the_score(truncated: bool) -> None:
    builder = RolloutBuilder(0, run_of())
    builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(7.0, False, False, None), frame(1))
    rollout = builder.add(frame(1), Choice(0, 1.0, 7.5), Outcome(-4.0, not truncated, truncated, None), frame(2))
    assert rollout is not None
    assert (rollout.terminated, rollout.truncated) == (not truncated, truncated)
    assert rollout.rewards.tolist() == [1, -1]
    assert (rollout.episode_return, rollout.episode_length) == (3.0, 2)


def test_rewards_stay_raw_without_a_clip() -> None:
    builder = RolloutBuilder(0, run_of(reward_clip=0.0, rollout_length=1))
    rollout = builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(-7.5, False, False, None), frame(1))
    assert rollout is not None
    assert rollout.rewards.tolist() == [-7.5]


def test_a_game_that_terminates_at_its_time_limit_is_terminated() -> None:
    rollout = RolloutBuilder(0, run_of()).add(frame(0), Choice(0, 1.0, 7.5), Outcome(0.0, True, True, None), frame(1))
    assert rollout is not None
    assert (rollout.terminated, rollout.truncated) == (True, False)


def test_a_lost_life_ends_the_episode_but_not_the_game() -> None:
    builder = RolloutBuilder(0, run_of(life_loss_terminal=True))
    builder.begin_game(lives=2)
    lost = builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(5.0, False, False, 1), frame(1))
    assert lost is not None
    assert (lost.terminated, lost.episode_return, lost.episode_length) == (True, None, None)
    over = builder.add(frame(1), Choice(0, 1.0, 7.5), Outcome(5.0, True, False, 0), frame(2))
    assert over is not None
    assert (over.terminated, over.episode_return, over.episode_length) == (True, 10.0, 2)
    assert over.frames[:, 0].tolist() == [1, 2]


def test_lives_do_not_matter_unless_the_run_says_so() -> None:
    builder = RolloutBuilder(0, run_of(life_loss_terminal=False))
    builder.begin_game(lives=2)
    assert builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(0.0, False, False, 1), frame(1)) is None


def test_more_lives_at_the_next_game_are_no_lost_life() -> None:
    builder = RolloutBuilder(0, run_of(life_loss_terminal=True))
    builder.begin_game(lives=1)
    builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(0.0, True, False, 0), frame(1))
    builder.begin_game(lives=3)
    assert builder.add(frame(0), Choice(0, 1.0, 7.5), Outcome(0.0, False, False, 3), frame(1)) is None


def test_the_step_that_only_resets_a_game_is_no_transition() -> None:
    with corridor(length=2):
        player, metrics, weights = player_of(run_of(environments_per_actor=1, rollout_length=6))
        ((first, second),) = rounds(player, weights, steps=6)
        player.close()
    assert first.frames[:, 0].tolist() == second.frames[:, 0].tolist() == [0, 1, 2]
    assert (first.episode_return, first.episode_length) == (6.0, 2)
    assert metrics.env_steps._value.get() == 4
    assert metrics.episodes._value.get() == 2


def test_a_game_over_at_the_last_step_of_a_round_is_reset_in_the_next() -> None:
    with corridor(length=3, truncates=True):
        player, _, weights = player_of(run_of(environments_per_actor=1, rollout_length=3))
        (first,), (second,) = rounds(player, weights, steps=3, count=2)
        player.close()
    assert (first.truncated, len(first)) == (True, 3)
    assert (second.truncated, second.frames[:, 0].tolist()) == (False, [0, 1, 2])


@given(
    length=st.integers(1, 9), rollout_length=st.integers(1, 7), environments=st.integers(1, 3), truncates=st.booleans()
)
def test_a_round_never_uses_more_than_its_credit_and_counts_what_it_used(
    length: int, rollout_length: int, environments: int, truncates: bool
) -> None:
    run = run_of(rollout_length=rollout_length, environments_per_actor=environments)
    with corridor(length, truncates):
        player, metrics, weights = player_of(run)
        played = rounds(player, weights, rollout_length, count=3)
        player.close()
    used = [sum(map(len, made)) for made in played]
    assert all(count <= run.credit_per_round for count in used)
    assert sum(used) == metrics.env_steps._value.get()
    for rollout in (rollout for made in played for rollout in made):
        rollouts.decode(rollout.encode(), run, len(rollout))
        assert np.diff(rollout.frames[:, 0]).tolist() == [1] * len(rollout)
        assert (rollout.terminated or rollout.truncated) == (rollout.frames[-1, 0] == length)


def test_epsilon_follows_the_env_steps_of_the_weights() -> None:
    with corridor(length=50):
        player, _, weights = player_of(run_of(exploration="round-robin"), actor=1)
        halfway = Weights(1, 8, 50, weights.tensors)
        (late,), (early,) = (
            {rollout.epsilon for rollout in rounds(player, chosen, 5)[0]} for chosen in (weights, halfway)
        )
        player.close()
    assert (late, early) == pytest.approx((0.01, 0.505))


def test_frames_of_real_breakout_are_the_stacks_that_the_environment_showed() -> None:
    run = run_of(**BREAKOUT, rollout_length=4)
    player, _, weights = player_of(run)
    for _ in range(5):
        player.begin_round(weights, 4)
        states = [player._states.copy()]
        for _ in range(4):
            player.step()
            states.append(player._states.copy())
        for rollout in player.end_round():
            for t in range(len(rollout) + 1):
                assert (rollout.frames[t : t + 4] == states[t][rollout.environment]).all()
            assert rollout.frames.shape == (len(rollout) + 4, 84, 84)
            rollouts.decode(rollout.encode(), run, len(rollout))
    player.close()


def played_breakout(run: RunSpecification, games: int, actor: int = 0) -> list[Rollout]:
    """Rollouts of random play until so many games are over."""
    player, _, weights = player_of(run, actor)
    weights = Weights(0, 0, 0, weights.tensors)
    made: list[Rollout] = []
    while sum(rollout.episode_return is not None for rollout in made) < games:
        made += rounds(player, weights, run.rollout_length)[0]
    player.close()
    return made


def test_a_lost_life_in_real_breakout_is_terminal_five_times_a_game() -> None:
    made = played_breakout(run_of(**BREAKOUT, environments_per_actor=1, life_loss_terminal=True), games=1)
    assert sum(rollout.terminated for rollout in made) == 5
    assert [rollout.episode_return is not None for rollout in made if rollout.terminated] == [False] * 4 + [True]
    assert made[-1].episode_length == sum(map(len, made))


def test_real_breakout_reports_its_raw_score_and_its_frame_limit_as_truncation() -> None:
    changes = {**BREAKOUT, "max_episode_frames": 400, "reward_clip": 0.25, "noop_max": 1}
    made = played_breakout(run_of(**changes, environments_per_actor=1), games=4)
    assert any(rollout.truncated and rollout.episode_return is not None for rollout in made)
    score = sum(rollout.episode_return or 0.0 for rollout in made)
    clipped = sum(float(rollout.rewards.sum()) for rollout in made)
    assert score > 0
    assert score >= 4 * clipped > 0


def test_d5_no_two_environments_actors_or_lives_play_the_same_game() -> None:
    run = run_of(**BREAKOUT, rollout_length=40)
    actions = []
    for actor, life in ((0, 0), (0, 1), (1, 0)):
        player, _, weights = player_of(run, actor, life)
        made = rounds(player, Weights(0, 0, 0, weights.tensors), 40)[0]
        actions += [tuple(rollout.actions.tolist()) for rollout in made]
        player.close()
    assert len(set(actions)) == len(actions) == 6


def test_the_same_actor_and_life_plays_the_same_game_again() -> None:
    run = run_of(**BREAKOUT, rollout_length=20)
    weights = Weights(0, 0, 0, dict(networks.build_for(run).state_dict()))
    payloads = []
    for _ in range(2):
        player, _, _ = player_of(run)
        made = rounds(player, weights, 20)[0]
        payloads.append([rollout.encode() for rollout in made])
        player.close()
    assert payloads[0] == payloads[1]


def test_a_game_with_other_actions_than_the_learners_is_refused() -> None:
    with corridor(length=3), pytest.raises(UserError, match=r"here it has 2 actions .* at the learner 3"):
        player_of(run_of(actions=3))
