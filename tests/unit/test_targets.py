"""n-step returns, lambda returns and V-trace against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_learner.targets import lambda_returns, largest_value, n_step_targets, transitions_left, v_trace_targets


def targets_of(
    rewards: list[float], lengths: list[int], terminated: list[bool], n: int, gamma: float = 0.5
) -> tuple[list[float], list[int], list[float]]:
    parts = n_step_targets(
        np.array(rewards, np.float32), np.array(lengths, np.int64), np.array(terminated, np.bool_), n, gamma
    )
    return parts.returns.tolist(), parts.steps.tolist(), parts.discounts.tolist()


def test_transitions_left_counts_down_in_each_rollout() -> None:
    assert transitions_left(np.array([3, 2])).tolist() == [3, 2, 1, 2, 1]


def test_returns_get_shorter_towards_the_end_of_the_rollout_as_in_the_forward_view() -> None:
    returns, steps, discounts = targets_of([1.0, 2.0, 4.0, 8.0], [4], [False], n=4)
    assert returns == [1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8]
    assert steps == [4, 3, 2, 1]
    assert discounts == [1 / 16, 1 / 8, 1 / 4, 1 / 2]


def test_a_window_of_n_steps_ends_before_the_rollout_does() -> None:
    returns, steps, discounts = targets_of([1.0, 2.0, 4.0, 8.0], [4], [False], n=2)
    assert returns == [2, 4, 8, 8]
    assert steps == [2, 2, 2, 1]
    assert discounts == [1 / 4, 1 / 4, 1 / 4, 1 / 2]


def test_a_rollout_shorter_than_n_uses_what_it_has() -> None:
    returns, steps, discounts = targets_of([1.0, 2.0], [2], [False], n=5)
    assert (returns, steps, discounts) == ([2, 2], [2, 1], [1 / 4, 1 / 2])


def test_a_window_that_reaches_a_terminated_end_does_not_bootstrap() -> None:
    _, _, discounts = targets_of([0.0, 0.0, 0.0], [3], [True], n=2)
    assert discounts == [1 / 4, 0, 0]


def test_a_terminal_in_the_last_position_of_a_whole_rollout_stops_every_bootstrap() -> None:
    returns, _, discounts = targets_of([0.0, 0.0, 8.0], [3], [True], n=3)
    assert returns == [2, 4, 8]
    assert discounts == [0, 0, 0]


def test_truncation_bootstraps_like_a_rollout_that_goes_on() -> None:
    # A truncated rollout is one that has not terminated: nothing else is asked.
    _, _, discounts = targets_of([1.0, 1.0], [2], [False], n=2)
    assert discounts == [1 / 4, 1 / 2]


def test_returns_do_not_cross_from_one_rollout_into_the_next() -> None:
    returns, _, discounts = targets_of([1.0, 2.0, 64.0, 128.0], [2, 2], [True, False], n=3)
    assert returns == [2, 2, 128, 128]
    assert discounts == [0, 0, 1 / 4, 1 / 2]


def test_one_step_is_the_reward_and_gamma() -> None:
    returns, steps, discounts = targets_of([1.0, 2.0, 4.0], [3], [True], n=1)
    assert (returns, steps, discounts) == ([1, 2, 4], [1, 1, 1], [0.5, 0.5, 0])


def test_no_rollouts_give_no_targets() -> None:
    assert targets_of([], [], [], n=5) == ([], [], [])


@given(
    rewards=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=12),
    extra=st.integers(0, 5),
    gamma=st.floats(0, 1),
    terminated=st.booleans(),
    last_value=st.floats(-10, 10),
)
def test_with_n_past_the_end_the_target_is_the_recursion_of_the_paper(
    rewards: list[float], extra: int, gamma: float, terminated: bool, last_value: float
) -> None:
    returns, _, discounts = targets_of(rewards, [len(rewards)], [terminated], len(rewards) + extra, gamma)
    expected = 0.0 if terminated else last_value
    for index in reversed(range(len(rewards))):
        expected = rewards[index] + gamma * expected
        assert returns[index] + discounts[index] * last_value == pytest.approx(expected, abs=1e-4)


def returns_of(rewards: list[float], following: list[float], traces: list[float], lengths: list[int], ends: list[bool],
               gamma: float = 0.5) -> list[float]:  # fmt: skip
    returns: list[float] = lambda_returns(
        np.array(rewards, np.float32),
        np.array(following, np.float32),
        np.array(traces),
        np.array(lengths, np.int64),
        np.array(ends, np.bool_),
        gamma,
    ).tolist()
    return returns


@given(rewards=st.lists(st.floats(-2, 2), max_size=200), gamma=st.floats(0, 0.999))
def test_no_sum_of_discounted_rewards_is_beyond_the_largest_value(rewards: list[float], gamma: float) -> None:
    worth = sum(gamma**ahead * reward for ahead, reward in enumerate(rewards))
    assert abs(worth) <= largest_value(2.0, gamma) * (1 + 1e-9)


def test_the_largest_value_is_that_of_the_largest_reward_for_ever_and_a_number_without_a_discount_too() -> None:
    assert largest_value(2.0, 0.75) == 8.0
    assert largest_value(2.0, 1.0) == 2e6


def test_lambda_returns_mix_the_next_value_with_the_return_from_there_on() -> None:
    last = 4 + 8 / 2
    middle = 2 + (0.75 * 12 + 0.25 * last) / 2
    first = 1 + (0.5 * 16 + 0.5 * middle) / 2
    assert returns_of([1, 2, 4], [16, 12, 8], [9, 0.5, 0.25], [3], [False]) == [first, middle, last]


def test_the_lambda_return_of_a_terminated_end_is_its_reward() -> None:
    assert returns_of([1, 4], [16, 8], [9, 1], [2], [True]) == [1 + 4 / 2, 4]


def test_lambda_returns_do_not_cross_from_one_rollout_into_the_next() -> None:
    assert returns_of([1, 4, 32], [16, 8, 64], [1, 1, 1], [2, 1], [True, False]) == [1 + 2, 4, 32 + 32]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    gamma=st.floats(0, 1),
)
def test_lambda_0_is_one_step_and_lambda_1_the_longest_return(lengths: list[int], seed: int, gamma: float) -> None:
    random = np.random.default_rng(seed)
    count = sum(lengths)
    rewards, following = (random.normal(size=count).astype(np.float32) for _ in range(2))
    ends = random.random(len(lengths)) < 0.5
    counted = np.array(lengths, np.int64)
    for decay, n in ((0.0, 1), (1.0, 6)):
        returns = lambda_returns(rewards, following, np.full(count, decay), counted, ends, gamma)
        parts = n_step_targets(rewards, counted, ends, n, gamma)
        ahead = following[np.arange(count) + parts.steps - 1]
        np.testing.assert_allclose(returns, parts.returns + parts.discounts * ahead, rtol=1e-4, atol=1e-5)


def v_trace_of(rewards: list[float], values: list[float], following: list[float], weights: list[float],
               lengths: list[int], ends: list[bool], n: int = 9, gamma: float = 0.5) -> list[float]:  # fmt: skip
    targets: list[float] = v_trace_targets(
        np.array(rewards, np.float32),
        np.array(values, np.float32),
        np.array(following, np.float32),
        np.array(weights),
        np.array(lengths, np.int64),
        np.array(ends, np.bool_),
        n,
        gamma,
    ).tolist()
    return targets


# Values 8, 4, 2 and then 6: the errors r + V'/2 - V are 1 + 2 - 8 = -5, 2 + 1 - 4 = -1 and 4 + 3 - 2 = 5.
A_ROLLOUT: tuple[list[float], list[float], list[float]] = ([1, 2, 4], [8, 4, 2], [4, 2, 6])


def test_v_trace_by_hand() -> None:
    last = 2 + 5 * 0.25
    middle = 4 - 1 * 0.5 + 5 * 0.5 * 0.5 * 0.25
    first = 8 - 5 * 1 - 1 * 0.5 * 1 * 0.5 + 5 * 0.25 * 1 * 0.5 * 0.25
    assert v_trace_of(*A_ROLLOUT, [1, 0.5, 0.25], [3], [False]) == [first, middle, last]


def test_v_trace_of_n_steps_ends_before_the_rollout_does() -> None:
    assert v_trace_of(*A_ROLLOUT, [1, 0.5, 0.25], [3], [False], n=1) == [8 - 5, 4 - 0.5, 2 + 1.25]


def test_v_trace_does_not_bootstrap_where_the_episode_terminated() -> None:
    assert v_trace_of(*A_ROLLOUT, [1, 1, 0.5], [3], [True])[-1] == 2 + 0.5 * (4 - 2)


def test_an_action_that_the_policy_would_never_take_now_teaches_nothing_and_hides_what_came_after() -> None:
    assert v_trace_of(*A_ROLLOUT, [1, 0, 1], [3], [False]) == [8 - 5, 4, 2 + 5]


def test_v_trace_does_not_cross_from_one_rollout_into_the_next() -> None:
    apart = [v_trace_of([1], [8], [4], [1], [1], [False]), v_trace_of([2, 4], [4, 2], [2, 6], [0.5, 1], [2], [True])]
    assert v_trace_of(*A_ROLLOUT, [1, 0.5, 1], [1, 2], [False, True]) == apart[0] + apart[1]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    gamma=st.floats(0, 1),
    n=st.integers(1, 8),
)
def test_v_trace_of_the_newest_policys_own_rollouts_is_the_n_step_return(
    lengths: list[int], seed: int, gamma: float, n: int
) -> None:
    random = np.random.default_rng(seed)
    count, counted = sum(lengths), np.array(lengths, np.int64)
    rewards, states = random.normal(size=count).astype(np.float32), random.normal(size=count + 1).astype(np.float32)
    following, ends = states[1:], random.random(len(lengths)) < 0.5
    targets = v_trace_targets(rewards, states[:-1], following, np.ones(count), counted, ends, n, gamma)
    parts = n_step_targets(rewards, counted, ends, n, gamma)
    ahead = following[np.arange(count) + parts.steps - 1]
    np.testing.assert_allclose(targets, parts.returns + parts.discounts * ahead, rtol=1e-4, atol=1e-5)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_what_v_trace_adds_to_a_value_is_impalas_weighted_advantage(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    count, counted = sum(lengths), np.array(lengths, np.int64)
    rewards, values, following = (random.normal(size=count).astype(np.float32) for _ in range(3))
    weights, ends = random.random(count), random.random(len(lengths)) < 0.5
    last = np.cumsum(counted) - 1
    starts = np.setdiff1d(np.arange(count), np.append(0, last[:-1] + 1))
    following[starts - 1] = values[starts]  # within a rollout the next state's value is the next transition's
    targets = v_trace_targets(rewards, values, following, weights, counted, ends, 6, 0.9)
    next_targets = np.append(targets[1:], 0.0)
    next_targets[last] = np.where(ends, 0.0, following[last])
    advantages = rewards + 0.9 * next_targets - values
    np.testing.assert_allclose(targets - values, weights * advantages, rtol=1e-4, atol=1e-5)
