"""Transitions with what n steps brought: what Q-learning trains, of a batch or of a sample from the replay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headrace_learner.batches import Batch
from headrace_learner.targets import NStepTargets


@dataclass(frozen=True, slots=True)
class Transitions:
    """M transitions (s_t, a_t, R, gamma^k, s_{t+k}), R being the discounted sum of k rewards.

    states: uint8 or float32 [M, S, *frame_shape]
    actions: int64 [M]
    returns, discounts: float32 [M]; the discount is 0 where the episode terminated within the k steps
    states_ahead: uint8 or float32 [L, S, *frame_shape], each state k steps ahead once
    ahead: int64 [M], row in `states_ahead` of each
    weights: float32 [M], by which each one's loss is multiplied; None for one another's equals
    """

    states: Tensor
    actions: Tensor
    returns: Tensor
    discounts: Tensor
    states_ahead: Tensor
    ahead: Tensor
    weights: Tensor | None = None

    def to(self, device: torch.device) -> Transitions:
        """All of it on a device."""
        return Transitions(
            self.states.to(device),
            self.actions.to(device),
            self.returns.to(device),
            self.discounts.to(device),
            self.states_ahead.to(device),
            self.ahead.to(device),
            None if self.weights is None else self.weights.to(device),
        )


def of_batch(batch: Batch, parts: NStepTargets) -> Transitions:
    """All transitions of a batch, on its device."""
    device = batch.states.device
    # Several transitions bootstrap from one state, all those of a rollout of n: each is evaluated once.
    rows, ahead = np.unique(batch.row_after(parts.steps), return_inverse=True)
    return Transitions(
        states=batch.acted_states,
        actions=batch.actions,
        returns=torch.from_numpy(parts.returns).to(device),
        discounts=torch.from_numpy(parts.discounts).to(device),
        states_ahead=batch.states_of(torch.from_numpy(rows).to(device)),
        ahead=torch.from_numpy(ahead).to(device),
    )
