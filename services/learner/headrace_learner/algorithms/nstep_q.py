"""Asynchronous n-step Q-learning: Mnih et al., arXiv 1602.01783, Algorithm S2.

    R <- 0 for a terminal state, else max_a Q(s_{t+k}, a; theta-)
    R <- r_i + gamma R, from the last transition to the first
    loss (R - Q(s_i, a_i; theta))^2

Returns are of n steps, and of fewer near the end of a rollout; with rollouts of n transitions that is the paper's
t_max. theta- is the target network, theta the online network.
"""

from __future__ import annotations

from headrace_learner.algorithms.q_learning import QLearning
from headrace_learner.batches import Batch
from headrace_learner.targets import NStepTargets, n_step_targets
from headrace_proto.run_settings import RunSettings


class NStepQ(QLearning):
    """n-step Q-learning with a target network."""

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.n_step = settings.n_step

    def look_ahead(self, batch: Batch) -> NStepTargets:
        """The rewards of the next k steps, k = min(n, transitions left in the rollout)."""
        return n_step_targets(batch.rewards, batch.lengths, batch.terminated, self.n_step, self._settings.discount)
