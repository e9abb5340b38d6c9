"""The interface of an algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from headrace_learner.batches import Batch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an algorithm makes of a batch.

    loss: scalar with a gradient
    q_values: float32 [N], values of the actions taken
    """

    loss: Tensor
    q_values: Tensor


class Algorithm(Protocol):
    """Turns a batch into a loss; holds nothing that training changes."""

    @property
    def n_step(self) -> int:
        """Steps of its return, which the actors put into every rollout."""

    def evaluate(self, batch: Batch, online: nn.Module, target: nn.Module) -> Evaluation:
        """Loss of the online network on a batch of at least one transition."""
