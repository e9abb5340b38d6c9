"""Asynchronous one-step Sarsa: Mnih et al., arXiv 1602.01783, section 4.

    y <- r for a terminal s', else r + gamma Q(s', a'; theta-), a' being the action taken in s'
    loss (y - Q(s, a; theta))^2

theta- is the target network. The action after a rollout's last transition is chosen in the next round, by newer
weights; in its place stands the mean over the behaviour policy, (1 - epsilon) max_a Q + epsilon mean_a Q, whose sample
it would be (expected Sarsa: van Seijen et al., 2009).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Evaluation, WholeBatchAlgorithm
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced_loss, taken
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName


class OneStepSarsa(WholeBatchAlgorithm):
    """One-step Sarsa with a target network."""

    head: HeadName = "values"
    has_target_network = True
    n_step = 1

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network's values against the one-step targets."""
        targets = self.targets(batch, target)
        q_values = taken(online(batch.acted_states), batch.actions)
        settings = self._settings
        loss = reduced_loss(q_values, targets, settings.loss, settings.loss_reduction, len(batch.lengths))
        return Evaluation(loss, q_values.detach())

    def targets(self, batch: Batch, target: nn.Module) -> Tensor:
        """Y for each transition: r + gamma Q(s', a'; theta-). float32 [N]."""
        device = batch.states.device
        last = np.cumsum(batch.lengths) - 1
        following = torch.from_numpy(batch.next_rows).to(device)
        with torch.no_grad():
            values = target(batch.states_of(following))
            # Within a rollout the next action is the next transition's; the last ones are put right below.
            after = taken(values, batch.actions.roll(-1))
            final, epsilons = values[last], torch.from_numpy(batch.epsilons).to(device)
            expected = (1 - epsilons) * final.amax(1) + epsilons * final.mean(1)
            after[last] = expected * torch.from_numpy(~batch.terminated).to(device)
            return torch.from_numpy(batch.rewards).to(device) + self._settings.discount * after
