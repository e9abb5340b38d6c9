"""Asynchronous n-step Q-learning: Mnih et al., arXiv 1602.01783, Algorithm S2.

    R <- 0 for a terminal state, else max_a Q(s_{t+k}, a; theta-)
    R <- r_i + gamma R, from the last transition to the first
    loss (R - Q(s_i, a_i; theta))^2

Returns are of n steps, and of fewer near the end of a rollout; with rollouts of n transitions that is the paper's
t_max. theta- is the target network, theta the online network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Evaluation
from headrace_learner.batches import Batch
from headrace_learner.losses import greedy_values, reduced_loss, taken
from headrace_learner.targets import n_step_targets
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName


class NStepQ:
    """n-step Q-learning with a target network."""

    head: HeadName = "values"
    has_target_network = True

    def __init__(self, settings: RunSettings) -> None:
        self.n_step = settings.n_step
        self._settings = settings

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network's values against the n-step targets."""
        targets = self.targets(batch, online, target)
        q_values = taken(online(batch.acted_states), batch.actions)
        settings = self._settings
        loss = reduced_loss(q_values, targets, settings.loss, settings.loss_reduction, len(batch.lengths))
        return Evaluation(loss, q_values.detach())

    def targets(self, batch: Batch, online: nn.Module, target: nn.Module) -> Tensor:
        """R for each transition: returns + gamma^k max_a Q(s_{t+k}, a; theta-). float32 [N]."""
        device = batch.states.device
        parts = n_step_targets(batch.rewards, batch.lengths, batch.terminated, self.n_step, self._settings.discount)
        # Several transitions bootstrap from one state, all those of a rollout of n: each is evaluated once.
        rows, which = np.unique(batch.row_after(parts.steps), return_inverse=True)
        states = batch.states[torch.from_numpy(rows).to(device)]
        values = greedy_values(states, online, target, double_q=self._settings.double_q)
        ahead = values[torch.from_numpy(which).to(device)]
        return torch.from_numpy(parts.returns).to(device) + torch.from_numpy(parts.discounts).to(device) * ahead
