"""The policy networks, shared because actors, the learner and evaluation must build the same one.

Each maps a batch of states to one value per action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headrace_proto.errors import UserError
from headrace_proto.specification import NetworkName, RunSpecification

SMALLEST_FRAME = 36
"""Pixels a side of the smallest frame that leaves something after the convolutions."""


class PixelNetwork(nn.Module):
    """A convolutional trunk and one hidden layer over stacked frames.

    forward: uint8 [N, S, 84, 84] to float32 [N, actions]
    """

    def __init__(
        self, convolutions: nn.Sequential, hidden: int, stack: int, frame: tuple[int, int], actions: int
    ) -> None:
        super().__init__()
        self.convolutions = convolutions
        with torch.no_grad():
            features = convolutions(torch.zeros(1, stack, *frame)).numel()
        self.hidden = nn.Linear(features, hidden)
        self.values = nn.Linear(hidden, actions)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, states: Tensor) -> Tensor:
        """Values of all actions in each state."""
        pixels = states.to(torch.float32, memory_format=torch.channels_last).mul_(1 / 255)
        features = self.convolutions(pixels).flatten(1)
        values: Tensor = self.values(torch.relu(self.hidden(features)))
        return values


class VectorNetwork(nn.Module):
    """Two hidden layers of 128 over a flattened observation.

    forward: uint8 or float32 [N, S, *shape] to float32 [N, actions]
    """

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, actions)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Values of all actions in each state."""
        scaled = states.flatten(1)
        scaled = scaled.float() / 255 if scaled.dtype == torch.uint8 else scaled
        values: Tensor = self.layers(scaled)
        return values


def dqn_2013(stack: int, frame: tuple[int, int], actions: int) -> PixelNetwork:
    """The network of arXiv 1312.5602 and of the ancestor: 16 8x8 s4, 32 4x4 s2, 256 hidden units."""
    convolutions = nn.Sequential(nn.Conv2d(stack, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU())
    return PixelNetwork(convolutions, 256, stack, frame, actions)


def dqn_2015(stack: int, frame: tuple[int, int], actions: int) -> PixelNetwork:
    """The network of Mnih et al., Nature 518 (2015): 32 8x8 s4, 64 4x4 s2, 64 3x3 s1, 512 hidden units."""
    convolutions = nn.Sequential(
        nn.Conv2d(stack, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU()
    )
    return PixelNetwork(convolutions, 512, stack, frame, actions)


def takes_pixels(frame_shape: tuple[int, ...]) -> bool:
    """Whether the convolutional networks can take frames of a shape."""
    return len(frame_shape) == 2 and min(frame_shape) >= SMALLEST_FRAME


def build(name: NetworkName, state_shape: tuple[int, ...], actions: int) -> nn.Module:
    """The network called `name` for states of a shape, e.g. (4, 84, 84); raises UserError if they do not fit."""
    if name == "mlp":
        return VectorNetwork(int(torch.Size(state_shape).numel()), actions)
    if not takes_pixels(state_shape[1:]):
        raise UserError(
            f"--network {name}: needs frames of at least {SMALLEST_FRAME}x{SMALLEST_FRAME} pixels, the game's states "
            f"have shape {state_shape}; allowed here: mlp"
        )
    stack, height, width = state_shape
    builder = dqn_2013 if name == "dqn-2013" else dqn_2015
    return builder(stack, (height, width), actions)


def build_for(run: RunSpecification) -> nn.Module:
    """The network of a run."""
    return build(run.network, run.state_shape, run.actions)
