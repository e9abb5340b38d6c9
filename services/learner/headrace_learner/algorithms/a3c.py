"""Asynchronous advantage actor-critic: Mnih et al., arXiv 1602.01783, Algorithm S3, corrected for the policy lag.

    R <- 0 for a terminal state, else V(s_{t+k}; theta)
    R <- r_i + gamma R, from the last transition to the first
    policy  grad log pi(a_i|s_i; theta) (R - V(s_i)) + beta grad H(pi(s_i; theta))
    value   grad (R - V(s_i; theta))^2

theta are the newest weights, mu the policy of the older ones that acted. `--correction v-trace` puts v_s of
IMPALA (Espeholt et al., arXiv 1802.01561, equation 1) in place of R, with the bounds rho-bar = c-bar = 1:

    v_s = V(s) + sum_{t=s}^{s+n-1} gamma^{t-s} (prod_{i=s}^{t-1} c_i) rho_t (r_t + gamma V(s_{t+1}) - V(s_t))
    c_t = rho_t = min(1, pi(a_t|s_t) / mu(a_t|s_t))

The same bounds make v_s - V(s) = rho_s (r_s + gamma v_{s+1} - V(s)), the weighted advantage of IMPALA's policy
gradient. So one number, v_s - V(s), teaches both heads; `--correction none` is rho = c = 1, which gives v_s = R.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Evaluation, WholeBatchAlgorithm
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced, reduced_loss, taken
from headrace_learner.targets import v_trace_targets
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName


class A3C(WholeBatchAlgorithm):
    """Advantage actor-critic with n-step returns, feed-forward or with an LSTM."""

    head: HeadName = "policy"
    has_target_network = False

    def __init__(self, settings: RunSettings) -> None:
        self.n_step = settings.n_step
        self._settings = settings

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of policy, entropy and values of the newest weights."""
        settings, count = self._settings, len(batch)
        logits, all_values = online(batch.states, batch.sequences)
        log_policy, values = logits[:count].log_softmax(1), all_values[:count]
        log_chosen = taken(log_policy, batch.actions)
        weights = self.importance_weights(batch, log_chosen)
        targets = torch.from_numpy(self.targets(batch, all_values, weights)).to(values.device)

        def total(losses: Tensor) -> Tensor:
            return reduced(losses, settings.loss_reduction, len(batch.lengths))

        policy_loss = total(-log_chosen * (targets - values.detach()))
        entropies = -(log_policy.exp() * log_policy).sum(1)
        value_loss = reduced_loss(values, targets, settings.loss, settings.loss_reduction, len(batch.lengths))
        loss = policy_loss - settings.entropy_coefficient * total(entropies) + settings.value_coefficient * value_loss
        logged = {
            "policy_loss": float(policy_loss.detach()),
            "value_loss": float(value_loss.detach()),
            "entropy": float(entropies.detach().mean()),
            "importance_weight": float(weights.mean()),
        }
        return Evaluation(loss, values.detach(), logged=logged)

    def importance_weights(self, batch: Batch, log_chosen: Tensor) -> NDArray[np.float64]:
        """Both rho and c, from log pi(a|s) [N]: min(1, pi / mu), or 1 without a correction. float64 [N]."""
        if self._settings.correction == "none":
            return np.ones(len(batch))
        log_now = log_chosen.detach().double().cpu().numpy()
        with np.errstate(divide="ignore"):  # mu may be too small for a float32: any action is likelier than that
            weights: NDArray[np.float64] = np.exp(np.minimum(0.0, log_now - np.log(batch.behaviour_probabilities)))
        return weights

    def targets(self, batch: Batch, values: Tensor, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """v_s for each transition, float32 [N], from the values [N+R] of the batch's states."""
        known = values.detach().cpu().numpy()
        following = known[batch.next_rows]
        return v_trace_targets(
            batch.rewards,
            known[: len(batch)],
            following,
            weights,
            batch.lengths,
            batch.terminated,
            self.n_step,
            self._settings.discount,
        )
