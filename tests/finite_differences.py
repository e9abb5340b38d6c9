"""Gradients held to differences of the loss itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

STEP = 1e-5


def assert_gradient_is_that_of(objective: Callable[[], float], network: nn.Module) -> None:
    """Hold the gradient of each parameter, in double precision, to the objective's slope in a random direction."""
    for parameter in network.parameters():
        assert parameter.dtype == torch.float64
        assert parameter.grad is not None
        direction = torch.randn_like(parameter)
        slope = float((parameter.grad * direction).sum())
        assert slope == pytest.approx(_slope(objective, parameter, direction), rel=1e-4, abs=1e-7)


def _slope(objective: Callable[[], float], parameter: Tensor, direction: Tensor) -> float:
    with torch.no_grad():
        parameter.add_(direction, alpha=STEP)
        above = objective()
        parameter.sub_(direction, alpha=2 * STEP)
        below = objective()
        parameter.add_(direction, alpha=STEP)
    return (above - below) / (2 * STEP)
