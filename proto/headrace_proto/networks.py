"""The policy networks, shared because actors, the learner and evaluation must build the same one.

A network is a trunk, which makes features of a state, and a head: values of actions for the value-based algorithms, a
policy and the value of the state for actor-critic ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from headrace_proto.errors import UserError
from headrace_proto.specification import NetworkName, RunSpecification

SMALLEST_FRAME = 36
"""Pixels a side of the smallest frame that leaves something after the convolutions."""

Convolution = tuple[int, int, int]
"""Output channels, pixels a side of the kernel, stride."""

CONVOLUTIONS: dict[NetworkName, list[Convolution]] = {
    "dqn-2013": [(16, 8, 4), (32, 4, 2)],
    "dqn-2015": [(32, 8, 4), (64, 4, 2), (64, 3, 1)],
}
HIDDEN: dict[NetworkName, int] = {"dqn-2013": 256, "dqn-2015": 512, "mlp": 128}


class ImageNorm(nn.Module):
    """Layer normalisation of each image over channels, rows and columns (arXiv 1607.06450).

    The weights lie in the order of the channels-last memory, so that nothing is copied to normalise.

    forward: float32 [N, C, h, w] to the same
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(height, width, channels))
        self.bias = nn.Parameter(torch.zeros(height, width, channels))

    def forward(self, images: Tensor) -> Tensor:
        """Images of mean 0 and variance 1 each, then scaled and shifted by element."""
        rows_first = images.permute(0, 2, 3, 1)
        normed = functional.layer_norm(rows_first, self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 3, 1, 2)


class PixelTrunk(nn.Module):
    """Convolutions and one hidden layer over stacked frames; with `layer_norm`, each layer is normalised before ReLU.

    forward: uint8 [N, S, 84, 84] to float32 [N, features]
    """

    def __init__(self, name: NetworkName, state_shape: tuple[int, int, int], *, layer_norm: bool) -> None:
        super().__init__()
        channels, height, width = state_shape
        layers: list[nn.Module] = []
        for outputs, kernel, stride in CONVOLUTIONS[name]:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            layers.append(nn.Conv2d(channels, outputs, kernel, stride))
            layers += [ImageNorm(outputs, height, width)] if layer_norm else []
            layers.append(nn.ReLU())
            channels = outputs
        self.features = HIDDEN[name]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(*_hidden_layer(channels * height * width, self.features, layer_norm=layer_norm))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, states: Tensor) -> Tensor:
        """Features of each state."""
        pixels = states.to(torch.float32, memory_format=torch.channels_last).mul_(1 / 255)
        features: Tensor = self.hidden(self.convolutions(pixels).flatten(1))
        return features


class VectorTrunk(nn.Module):
    """Two hidden layers of 128 over a flattened observation.

    forward: uint8 or float32 [N, S, *shape] to float32 [N, 128]
    """

    def __init__(self, inputs: int, *, layer_norm: bool) -> None:
        super().__init__()
        self.features = HIDDEN["mlp"]
        self.hidden = nn.Sequential(
            *_hidden_layer(inputs, self.features, layer_norm=layer_norm),
            *_hidden_layer(self.features, self.features, layer_norm=layer_norm),
        )

    def forward(self, states: Tensor) -> Tensor:
        """Features of each state."""
        flat = states.flatten(1)
        features: Tensor = self.hidden(flat.float() / 255 if flat.dtype == torch.uint8 else flat)
        return features


Trunk = PixelTrunk | VectorTrunk


class ValueNetwork(nn.Module):
    """One value for each action. forward: [N, S, *frame_shape] to float32 [N, actions]."""

    def __init__(self, trunk: Trunk, actions: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.values = nn.Linear(trunk.features, actions)

    def forward(self, states: Tensor) -> Tensor:
        """Values of all actions in each state."""
        values: Tensor = self.values(self.trunk(states))
        return values


def takes_pixels(frame_shape: tuple[int, ...]) -> bool:
    """Whether the convolutional networks can take frames of a shape."""
    return len(frame_shape) == 2 and min(frame_shape) >= SMALLEST_FRAME


def make_trunk(name: NetworkName, state_shape: tuple[int, ...], *, layer_norm: bool) -> Trunk:
    """The trunk called `name` for states of a shape, e.g. (4, 84, 84); raises UserError if they do not fit."""
    if name == "mlp":
        return VectorTrunk(int(torch.Size(state_shape).numel()), layer_norm=layer_norm)
    if not takes_pixels(state_shape[1:]):
        raise UserError(
            f"--network {name}: needs frames of at least {SMALLEST_FRAME}x{SMALLEST_FRAME} pixels, the game's states "
            f"have shape {state_shape}; allowed here: mlp"
        )
    stack, height, width = state_shape
    return PixelTrunk(name, (stack, height, width), layer_norm=layer_norm)


def build_for(run: RunSpecification) -> nn.Module:
    """The network of a run; raises UserError if it does not fit the run's states."""
    trunk = make_trunk(run.network, run.state_shape, layer_norm=run.layer_norm)
    network = ValueNetwork(trunk, run.actions)
    return initialised(network) if run.layer_norm else network


def initialised(network: ValueNetwork) -> ValueNetwork:
    """He normal before each ReLU, as arXiv 2407.04811 has it, and values near 0.

    A normalised layer does not care for the scale of its weights, but an optimizer whose steps have a fixed size does:
    small weights turn fast. Values that differ at random make their largest an overestimate, slow to be unlearned.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    nn.init.normal_(network.values.weight, std=0.01 * network.values.in_features**-0.5)
    return network


def _hidden_layer(inputs: int, outputs: int, *, layer_norm: bool) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.LayerNorm(outputs)] if layer_norm else []
    return [nn.Linear(inputs, outputs), *norm, nn.ReLU()]
