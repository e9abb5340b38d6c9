"""Asynchronous one-step Q-learning: Mnih et al., arXiv 1602.01783, Algorithm 1.

    y <- r for a terminal s', else r + gamma max_a' Q(s', a'; theta-)
    loss (y - Q(s, a; theta))^2

theta- is the target network, theta the online network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Evaluation
from headrace_learner.batches import Batch
from headrace_learner.losses import greedy_values, reduced_loss, taken
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName


class OneStepQ:
    """One-step Q-learning with a target network."""

    head: HeadName = "values"
    has_target_network = True
    n_step = 1

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network's values against the one-step targets."""
        targets = self.targets(batch, online, target)
        q_values = taken(online(batch.acted_states), batch.actions)
        settings = self._settings
        loss = reduced_loss(q_values, targets, settings.loss, settings.loss_reduction, len(batch.lengths))
        return Evaluation(loss, q_values.detach())

    def targets(self, batch: Batch, online: nn.Module, target: nn.Module) -> Tensor:
        """Y for each transition: r + gamma max_a' Q(s', a'; theta-). float32 [N]."""
        device = batch.states.device
        is_terminal = np.zeros(len(batch), dtype=np.bool_)
        is_terminal[np.cumsum(batch.lengths) - 1] = batch.terminated
        following = torch.from_numpy(batch.row_after(np.ones(len(batch), dtype=np.int64))).to(device)
        values = greedy_values(batch.states[following], online, target, double_q=self._settings.double_q)
        rewards = torch.from_numpy(batch.rewards).to(device)
        return torch.where(
            torch.from_numpy(is_terminal).to(device), rewards, rewards + self._settings.discount * values
        )
