"""n-step returns in the paper's forward view, lambda returns and V-trace, for many rollouts at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_STEPS_AHEAD = 1e6
"""Whose rewards add up to a state's value, where they are not discounted."""


@dataclass(frozen=True, slots=True)
class NStepTargets:
    """What a target is made of: `returns + discounts * value of the state `steps` ahead`.

    returns: float32 [N], the discounted sum of the next `steps` rewards
    steps: int64 [N], k = min(n, transitions left in the rollout)
    discounts: float32 [N], gamma**k, 0 where the episode terminated within the k steps
    """

    returns: NDArray[np.float32]
    steps: NDArray[np.int64]
    discounts: NDArray[np.float32]


def transitions_left(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """T - t for every transition t of rollouts that lie one after another: [3, 2] gives 3, 2, 1, 2, 1."""
    ends = np.repeat(np.cumsum(lengths), lengths)
    left: NDArray[np.int64] = ends - np.arange(lengths.sum())
    return left


def n_step_targets(
    rewards: NDArray[np.float32],
    lengths: NDArray[np.int64],
    terminated: NDArray[np.bool_],
    n: int,
    gamma: float,
) -> NStepTargets:
    """Returns of n steps, and of fewer near the end of a rollout (arXiv 1602.01783, Algorithm S2).

    A rollout that was truncated, or that goes on in another, bootstraps from its last state; one that terminated
    does not.

    Args:
        rewards: float32 [N], the rewards of all rollouts one after another
        lengths: int64 [R], transitions of each rollout, together N
        terminated: bool [R], whether the last transition of each rollout ended the episode
        n: most steps of a return
        gamma: discount of a step
    """
    left = transitions_left(lengths)
    steps = np.minimum(n, left)
    returns = np.zeros(len(rewards))
    for ahead in range(int(steps.max(initial=0))):
        within = ahead < steps
        returns[within] += gamma**ahead * rewards[np.flatnonzero(within) + ahead]
    reaches_end = (steps == left) & np.repeat(terminated, lengths)
    discounts = np.where(reaches_end, 0.0, gamma**steps)
    with np.errstate(over="ignore"):  # a return too large for float32 is infinite, and the loss is checked for that
        return NStepTargets(returns.astype(np.float32), steps, discounts.astype(np.float32))


def lambda_returns(
    rewards: NDArray[np.float32],
    following: NDArray[np.float32],
    traces: NDArray[np.float64],
    lengths: NDArray[np.int64],
    terminated: NDArray[np.bool_],
    gamma: float,
) -> NDArray[np.float32]:
    """Returns that mix, step by step, the value of the next state with the return from there on. float32 [N].

    G_t = r_t + gamma ((1 - c_{t+1}) V(s_{t+1}) + c_{t+1} G_{t+1}), and r + gamma V at the end of a rollout, r alone
    where that terminated (arXiv 2407.04811, equation 6, for c = lambda).

    Args:
        rewards: float32 [N], the rewards of all rollouts one after another
        following: float32 [N], V(s_{t+1}), the value of the state after each transition
        traces: float64 [N], c_t of each transition; those of the rollouts' first transitions are not used
        lengths: int64 [R], transitions of each rollout, together N
        terminated: bool [R], whether the last transition of each rollout ended the episode
        gamma: discount of a step
    """
    left = transitions_left(lengths)
    returns = np.empty(len(rewards))
    last = left == 1
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is seen by the loss, which is checked
        returns[last] = rewards[last] + gamma * np.where(terminated, 0.0, following[last])
        for distance in range(2, int(left.max(initial=0)) + 1):
            at = np.flatnonzero(left == distance)
            ahead = traces[at + 1]
            returns[at] = rewards[at] + gamma * ((1.0 - ahead) * following[at] + ahead * returns[at + 1])
        return returns.astype(np.float32)


def largest_value(reward: float, gamma: float) -> float:
    """What no state is worth more than, nor less than minus that: such a reward at each step ahead.

    Args:
        reward: the largest reward of a step
        gamma: discount of a step
    """
    return reward / max(1.0 - gamma, 1.0 / MOST_STEPS_AHEAD)


def v_trace_targets(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    following: NDArray[np.float32],
    weights: NDArray[np.float64],
    lengths: NDArray[np.int64],
    terminated: NDArray[np.bool_],
    n: int,
    gamma: float,
) -> NDArray[np.float32]:
    """V-trace targets of n steps, and of fewer near the end of a rollout (arXiv 1802.01561, equation 1). float32 [N].

    v_s = V(s) + sum_{t=s}^{s+k-1} gamma^{t-s} (prod_{i=s}^{t-1} w_i) w_t (r_t + gamma V(s_{t+1}) - V(s_t))

    w is both rho and c, and k = min(n, transitions left in the rollout). With weights of 1 that is the n-step return.

    Args:
        rewards: float32 [N], the rewards of all rollouts one after another
        values: float32 [N], V(s_t), the value of the state before each transition
        following: float32 [N], V(s_{t+1}), the value of the state after it; not used where the episode terminated
        weights: float64 [N], rho_t = c_t, truncated at 1
        lengths: int64 [R], transitions of each rollout, together N
        terminated: bool [R], whether the last transition of each rollout ended the episode
        n: most steps of a target
        gamma: discount of a step
    """
    left = transitions_left(lengths)
    steps = np.minimum(n, left)
    ahead_values = np.where((left == 1) & np.repeat(terminated, lengths), 0.0, following)
    targets, products = values.astype(np.float64), np.ones(len(values))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is seen by the loss, which is checked
        errors = weights * (rewards + gamma * ahead_values - values)
        for ahead in range(int(steps.max(initial=0))):
            within = np.flatnonzero(ahead < steps)
            targets[within] += products[within] * errors[within + ahead]
            products[within] *= gamma * weights[within + ahead]
        return targets.astype(np.float32)
