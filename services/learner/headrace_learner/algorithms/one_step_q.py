"""Asynchronous one-step Q-learning: Mnih et al., arXiv 1602.01783, Algorithm 1; with a replay DQN, arXiv 1312.5602.

    y <- r for a terminal s', else r + gamma max_a' Q(s', a'; theta-)
    loss (y - Q(s, a; theta))^2

theta- is the target network, theta the online network.
"""

from __future__ import annotations

import numpy as np

from headrace_learner.algorithms.q_learning import QLearning
from headrace_learner.batches import Batch
from headrace_learner.targets import NStepTargets


class OneStepQ(QLearning):
    """One-step Q-learning with a target network."""

    n_step = 1

    def look_ahead(self, batch: Batch) -> NStepTargets:
        """The reward of the step, whatever the length of the rollout."""
        discounts = np.full(len(batch), self._settings.discount, dtype=np.float32)
        discounts[np.cumsum(batch.lengths)[batch.terminated] - 1] = 0
        return NStepTargets(batch.rewards, np.ones(len(batch), dtype=np.int64), discounts)
