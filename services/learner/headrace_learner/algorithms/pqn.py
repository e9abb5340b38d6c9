"""Parallelised Q-network, fitted to asynchronous actors: Gallici et al., arXiv 2407.04811, equations 5 and 6.

    G_t <- r_t + gamma ((1 - c_{t+1}) max_a Q(s_{t+1}, a) + c_{t+1} G_{t+1}),  G_{T-1} <- r + gamma max_a Q(s_T, a)
    loss (G_t - Q(s_t, a_t; theta))^2, or with `--loss huber` half of it, linear from an error of 1

No replay, no target network: layer normalisation keeps it stable. As published, a batch is trained in minibatches: its
transitions shuffled and cut into equal parts, an optimizer step on each, G being that of before the first. The values
that G bootstraps are those of the newest weights, in place of the ones that the actor stored, so that only the choice
of actions is late. c is lambda, cut as `--traces` says:

    peng        lambda: Peng's Q(lambda), as published
    importance  lambda min(1, pi(a|s) / mu(a|s)), pi being epsilon-greedy in the newest values with the epsilon of the
                behaviour policy mu: 1 but for what the policy lag changed
    retrace     the same with pi greedy (Munos et al., arXiv 1606.02647): also cut after an exploring action
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headrace_learner.algorithms.interface import Algorithm, Evaluation
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced_loss, taken
from headrace_learner.targets import lambda_returns
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import HeadName

TINY = 1e-12
"""Stands for a behaviour probability of 0, which an actor that never explores gives what it would not do now."""


class PQN(Algorithm):
    """Q(lambda) over rollouts, without a target network."""

    head: HeadName = "values"
    has_target_network = False

    def __init__(self, settings: RunSettings) -> None:
        self.n_step = settings.rollout_transitions
        self._settings = settings

    def evaluations(
        self, batch: Batch, online: nn.Module, target: nn.Module, random: torch.Generator
    ) -> Iterator[Evaluation]:
        """One of each minibatch, or of the whole batch, against the lambda returns that came before the first step."""
        minibatches = min(self._settings.minibatches, len(batch))
        if minibatches == 1:
            yield self.evaluate(batch, online, target)
            return
        first, *others = torch.randperm(len(batch), generator=random).tensor_split(minibatches)
        values, targets = self._before_the_first_step(batch, online, first)
        yield self._evaluation(batch, values, targets, first, minibatches)
        for minibatch in others:
            values = online(batch.states_of(minibatch.to(targets.device)))
            yield self._evaluation(batch, values, targets, minibatch, minibatches)

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the values against the lambda returns that the same values bootstrap: one pass does for both."""
        values = online(batch.states)
        q_values = taken(values[: len(batch)], batch.actions)
        loss = self._loss(q_values, self._targets(batch, values.detach()), len(batch.lengths))
        return Evaluation(loss, q_values.detach())

    def targets(self, batch: Batch, values: Tensor) -> NDArray[np.float32]:
        """G for each transition, float32 [N], from the values [N+R, actions] of the batch's states."""
        greedy_values, greedy_actions = (part.cpu().numpy() for part in values.max(1))
        following = greedy_values[batch.next_rows]
        traces = self._settings.trace_decay * self._kept(batch, greedy_actions[: len(batch)], values.shape[1])
        return lambda_returns(
            batch.rewards, following, traces, batch.lengths, batch.terminated, self._settings.discount
        )

    def _before_the_first_step(self, batch: Batch, online: nn.Module, first: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the first minibatch, with a gradient, and the targets of all transitions.

        No step lies between the two, so that its states are evaluated once for both.
        """
        device = batch.states.device
        is_other = torch.ones(len(batch.states), dtype=torch.bool)
        is_other[first] = False
        rows, others = first.to(device), is_other.nonzero().squeeze(1).to(device)
        values: Tensor = online(batch.states_of(rows))
        every = values.new_empty(len(batch.states), values.shape[1])
        every[rows] = values.detach()
        with torch.no_grad():
            every[others] = online(batch.states_of(others))
        return values, self._targets(batch, every)

    def _evaluation(
        self, batch: Batch, values: Tensor, targets: Tensor, minibatch: Tensor, minibatches: int
    ) -> Evaluation:
        rows = minibatch.to(targets.device)
        q_values = taken(values, batch.actions[rows])
        loss = self._loss(q_values, targets[rows], len(batch.lengths) / minibatches)
        return Evaluation(loss, q_values.detach(), minibatch=minibatch.numpy())

    def _targets(self, batch: Batch, values: Tensor) -> Tensor:
        return torch.from_numpy(self.targets(batch, values)).to(values.device)

    def _loss(self, q_values: Tensor, targets: Tensor, rollouts: float) -> Tensor:
        return reduced_loss(q_values, targets, self._settings.loss, self._settings.loss_reduction, rollouts)

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
