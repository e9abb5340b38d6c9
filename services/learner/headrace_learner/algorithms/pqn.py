"""Parallelised Q-network, fitted to asynchronous actors: Gallici et al., arXiv 2407.04811, equations 5 and 6.

    G_t <- r_t + gamma ((1 - c_{t+1}) max_a Q(s_{t+1}, a) + c_{t+1} G_{t+1}),  G_{T-1} <- r + gamma max_a Q(s_T, a)
    loss (G_t - Q(s_t, a_t; theta))^2

No replay, no target network: layer normalisation keeps it stable. The values are those of the newest weights, in place
of the ones that the actor stored, so that only the choice of actions is late. c is lambda, cut as `--traces` says:

    peng        lambda: Peng's Q(lambda), as published
    importance  lambda min(1, pi(a|s) / mu(a|s)), pi being epsilon-greedy in the newest values with the epsilon of the
                behaviour policy mu: 1 but for what the policy lag changed
    retrace     the same with pi greedy (Munos et al., arXiv 1606.02647): also cut after an exploring action
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Evaluation
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced_loss, taken
from headrace_learner.targets import lambda_returns
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName

TINY = 1e-12
"""Stands for a behaviour probability of 0, which an actor that never explores gives what it would not do now."""


class PQN:
    """Q(lambda) over rollouts, without a target network."""

    head: HeadName = "values"
    has_target_network = False

    def __init__(self, settings: RunSettings) -> None:
        self.n_step = settings.rollout_transitions
        self._settings = settings

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the values against the lambda returns that the same values bootstrap."""
        settings = self._settings
        values = online(batch.states)
        targets = torch.from_numpy(self.targets(batch, values.detach())).to(values.device)
        q_values = taken(values[: len(batch)], batch.actions)
        loss = reduced_loss(q_values, targets, settings.loss, settings.loss_reduction, len(batch.lengths))
        return Evaluation(loss, q_values.detach())

    def targets(self, batch: Batch, values: Tensor) -> NDArray[np.float32]:
        """G for each transition, float32 [N], from the values [N+R, actions] of the batch's states."""
        greedy_values, greedy_actions = (part.cpu().numpy() for part in values.max(1))
        following = greedy_values[batch.next_rows]
        traces = self._settings.trace_decay * self._kept(batch, greedy_actions[: len(batch)], values.shape[1])
        return lambda_returns(
            batch.rewards, following, traces, batch.lengths, batch.terminated, self._settings.discount
        )

    def _kept(self, batch: Batch, greedy: NDArray[np.int64], actions: int) -> NDArray[np.float64]:
        """Which share of each trace is kept: min(1, pi(a|s) / mu(a|s)). float64 [N]."""
        if self._settings.traces == "peng":
            return np.ones(len(batch))
        is_greedy: NDArray[np.bool_] = batch.actions.cpu().numpy() == greedy
        if self._settings.traces == "retrace":
            return is_greedy.astype(np.float64)
        epsilons = np.repeat(batch.epsilons.astype(np.float64), batch.lengths)
        now = epsilons / actions + (1.0 - epsilons) * is_greedy
        kept: NDArray[np.float64] = np.minimum(1.0, now / np.maximum(batch.behaviour_probabilities, TINY))
        return kept
