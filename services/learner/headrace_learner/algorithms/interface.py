"""The interface of an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn

from headrace_learner.batches import Batch
from headrace_proto.specification import HeadName


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an algorithm makes of a batch.

    loss: scalar with a gradient
    q_values: float32 [N], values of the actions taken, or with a policy those of the states
    errors: float32 [N], targets less values, of the algorithms that take a replay
    logged: what else the algorithm shows of it, by name; docs/algorithms.md lists the names
    """

    loss: Tensor
    q_values: Tensor
    errors: Tensor | None = None
    logged: Mapping[str, float] = field(default_factory=dict)


class Algorithm(Protocol):
    """Turns a batch into a loss; holds nothing that training changes."""

    @property
    def head(self) -> HeadName:
        """What the network ends in, and with that how actors choose actions."""

    @property
    def has_target_network(self) -> bool:
        """Whether its values come from a copy that is kept for a while; without one, `target` is `online`."""

    @property
    def n_step(self) -> int:
        """Steps of its return, which the actors put into every rollout."""

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network on a batch of at least one transition."""
