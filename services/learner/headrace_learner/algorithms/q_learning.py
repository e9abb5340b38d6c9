"""What the Q-learning algorithms have in common: values against targets, of a batch or of a sample from the replay.

    y <- R + gamma^k max_a Q(s_{t+k}, a; theta-)
    loss (y - Q(s_t, a_t; theta))^2

theta- is the target network, theta the online network. R and gamma^k, 0 for a terminal state, are what an algorithm's
`look_ahead` says.
"""

from __future__ import annotations

from torch import Tensor, nn

from headrace_learner import transitions
from headrace_learner.algorithms.interface import Evaluation, WholeBatchAlgorithm
from headrace_learner.batches import Batch
from headrace_learner.losses import greedy_values, reduced_loss, taken
from headrace_learner.targets import NStepTargets
from headrace_learner.transitions import Transitions
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName


class QLearning(WholeBatchAlgorithm):
    """Q-learning with a target network."""

    head: HeadName = "values"
    has_target_network = True
    n_step: int

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings

    def look_ahead(self, batch: Batch) -> NStepTargets:
        """R, k and gamma^k of each transition."""
        raise NotImplementedError

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network's values of a batch against their targets."""
        seen = transitions.of_batch(batch, self.look_ahead(batch))
        return self.evaluate_transitions(seen, online, target, len(batch.lengths))

    def evaluate_transitions(
        self, seen: Transitions, online: nn.Module, target: nn.Module, rollouts: int
    ) -> Evaluation:
        """Loss of transitions of so many rollouts, each multiplied by its weight, and their TD errors."""
        settings = self._settings
        targets = self.targets(seen, online, target)
        q_values = taken(online(seen.states), seen.actions)
        loss = reduced_loss(q_values, targets, settings.loss, settings.loss_reduction, rollouts, seen.weights)
        return Evaluation(loss, q_values.detach(), targets - q_values.detach())

    def targets(self, seen: Transitions, online: nn.Module, target: nn.Module) -> Tensor:
        """Y for each transition. float32 [M]."""
        values = greedy_values(seen.states_ahead, online, target, double_q=self._settings.double_q)
        return seen.returns + seen.discounts * values[seen.ahead]
