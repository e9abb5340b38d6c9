"""Parallelised Q-network, fitted to asynchronous actors: Gallici et al., arXiv 2407.04811, equations 5 and 6.

    G_t <- r_t + gamma ((1 - c_{t+1}) max_a Q(s_{t+1}, a) + c_{t+1} G_{t+1}),  G_{T-1} <- r + gamma max_a Q(s_T, a)
    loss (G_t - Q(s_t, a_t; theta))^2, or with `--loss huber` half of it, linear from an error of 1

No replay, no target network: layer normalisation keeps it stable. As published, a batch is trained in minibatches: its
transitions shuffled and cut into equal parts, an optimizer step on each, G being that of before the first. The values
of states within a rollout are, as published, those found in acting, though by weights that are late by the policy lag;
that of the last state, in which nobody has acted, is of the newest weights. With `--bootstrap newest` all are, which
costs another pass over all minibatches but one. c is lambda, cut as `--traces` says; what cuts it asks what is greedy
now, and so has the newest values anyway:

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
from headrace_learner.targets import lambda_returns, largest_value
from headrace_proto.conditions import counts
from headrace_proto.rollouts import largest_reward
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
        self._keeps_behaviour_values = counts(settings, "bootstrap") and settings.bootstrap == "behaviour"

    def evaluations(
        self, batch: Batch, online: nn.Module, target: nn.Module, random: torch.Generator
    ) -> Iterator[Evaluation]:
        """One of each minibatch, against the lambda returns that came before the first step."""
        minibatches = min(self._settings.minibatches, len(batch))
        first, *others = torch.randperm(len(batch), generator=random).tensor_split(minibatches)
        values, targets = self.begin(batch, online, first)
        yield self._evaluation(batch, values, targets, first, minibatches)
        for minibatch in others:
            values = online(batch.states_of(minibatch.to(targets.device)))
            yield self._evaluation(batch, values, targets, minibatch, minibatches)

    def targets(self, batch: Batch, values: Tensor) -> NDArray[np.float32]:
        """G for each transition, float32 [N], from the newest values [N+R, actions] of the batch's states."""
        greedy_values, greedy_actions = (part.cpu().numpy() for part in values.max(1))
        return self._returns(batch, greedy_values, self._kept(batch, greedy_actions[: len(batch)], values.shape[1]))

    def behaviour_targets(self, batch: Batch, last_values: Tensor) -> NDArray[np.float32]:
        """The same from what the actor found in each state, and newest values [R, actions] of the last ones.

        An actor may say anything: what no state can be worth counts as the most, and what is no number as nothing.
        """
        assert batch.behaviour_values is not None
        most = largest_value(largest_reward(self._settings.reward_clip), self._settings.discount)
        found = np.clip(np.nan_to_num(batch.behaviour_values, nan=0.0), -most, most)
        return self._returns(batch, np.concatenate([found, last_values.amax(1).cpu().numpy()]), np.ones(len(batch)))

    def _returns(
        self, batch: Batch, greedy_values: NDArray[np.float32], kept: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        following, traces = greedy_values[batch.next_rows], self._settings.trace_decay * kept
        return lambda_returns(
            batch.rewards, following, traces, batch.lengths, batch.terminated, self._settings.discount
        )

    def begin(self, batch: Batch, online: nn.Module, first: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the first minibatch, with a gradient, and the targets of all transitions.

        No step lies between the two, so that a state is evaluated once for both.
        """
        rows = first.to(batch.states.device)
        values: Tensor = online(batch.states_of(rows))
        with torch.no_grad():
            if self._keeps_behaviour_values:
                targets = self.behaviour_targets(batch, online(batch.states[len(batch) :]))
            else:
                targets = self.targets(batch, self._all_values(batch, online, rows, values.detach()))
        return values, torch.from_numpy(targets).to(rows.device)

    def _all_values(self, batch: Batch, online: nn.Module, known: Tensor, values: Tensor) -> Tensor:
        """Values of all states, [N+R, actions], of which those of the rows `known` are at hand."""
        is_other = torch.ones(len(batch.states), dtype=torch.bool, device=known.device)
        is_other[known] = False
        others = is_other.nonzero().squeeze(1)
        every = values.new_empty(len(batch.states), values.shape[1])
        every[known] = values
        every[others] = online(batch.states_of(others))
        return every

    def _evaluation(
        self, batch: Batch, values: Tensor, targets: Tensor, minibatch: Tensor, minibatches: int
    ) -> Evaluation:
        rows = minibatch.to(targets.device)
        q_values = taken(values, batch.actions[rows])
        loss = self._loss(q_values, targets[rows], len(batch.lengths) / minibatches)
        return Evaluation(loss, q_values.detach(), minibatch=minibatch.numpy())

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
