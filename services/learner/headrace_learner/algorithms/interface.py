"""The interface of an algorithm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headrace_learner.batches import Batch
from headrace_proto.specification import HeadName


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an algorithm makes of a batch, or of a minibatch of it.

    loss: scalar with a gradient
    q_values: float32 [N], values of the actions taken, or with a policy those of the states
    errors: float32 [N], targets less values, of the algorithms that take a replay
    logged: what else the algorithm shows of it, by name; docs/algorithms.md lists the names
    minibatch: int64 [M], the transitions of the batch that it is of; None for all
    """

    loss: Tensor
    q_values: Tensor
    errors: Tensor | None = None
    logged: Mapping[str, float] = field(default_factory=dict)
    minibatch: NDArray[np.int64] | None = None


class Algorithm(ABC):
    """Turns a batch into losses; holds nothing that training changes.

    head: what the network ends in, and with that how actors choose actions
    has_target_network: whether its values come from a copy that is kept for a while; without one, `target` is `online`
    n_step: steps of its return, which the actors put into every rollout
    """

    head: HeadName
    has_target_network: bool
    n_step: int

    @abstractmethod
    def evaluations(
        self, batch: Batch, online: nn.Module, target: nn.Module, random: torch.Generator
    ) -> Iterator[Evaluation]:
        """One for each optimizer step that a batch of at least one transition brings, asked for after the last step."""


class WholeBatchAlgorithm(Algorithm):
    """An algorithm that makes one optimizer step on a batch."""

    @abstractmethod
    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network on a batch of at least one transition."""

    def evaluations(
        self, batch: Batch, online: nn.Module, target: nn.Module, random: torch.Generator
    ) -> Iterator[Evaluation]:
        """The one of all of it."""
        yield self.evaluate(batch, online, target)
