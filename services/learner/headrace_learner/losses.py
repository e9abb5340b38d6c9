"""The pieces that the algorithms are written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Network = Callable[[Tensor], Tensor]
Loss = Literal["huber", "squared"]
Reduction = Literal["transition", "rollout"]


def taken(values: Tensor, actions: Tensor) -> Tensor:
    """The values of the actions that were taken: [N, actions] and int64 [N] give [N]."""
    return values.gather(1, actions.unsqueeze(1)).squeeze(1)


def greedy_values(states: Tensor, online: Network, target: Network, *, double_q: bool) -> Tensor:
    """Value of each state by the target network, [M] for M states.

    Its largest, or with double Q (arXiv 1509.06461, equation 4) that of the action the online network prefers.
    """
    with torch.inference_mode():
        values = target(states)
        if double_q:
            return taken(values, online(states).argmax(1))
        return values.amax(1)


def reduced_loss(
    values: Tensor, targets: Tensor, loss: Loss, reduction: Reduction, rollouts: float, weights: Tensor | None = None
) -> Tensor:
    """Loss of N values against their targets, a scalar.

    Huber with delta 1, or the squared error (R - Q)^2. With weights, [N], each transition's loss is multiplied by its
    own.
    """
    if loss == "huber":
        losses = functional.huber_loss(values, targets, reduction="none", delta=1.0)
    else:
        losses = (targets - values).square()
    if weights is not None:
        losses = losses * weights
    return reduced(losses, reduction, rollouts)


def reduced(losses: Tensor, reduction: Reduction, rollouts: float) -> Tensor:
    """One number for N losses, a scalar.

    The mean over transitions, or the mean over rollouts of the sum over their transitions, which is how the paper
    accumulates a gradient over t_max steps.
    """
    return losses.mean() if reduction == "transition" else losses.sum() / rollouts
