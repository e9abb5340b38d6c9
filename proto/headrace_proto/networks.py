"""The policy networks, shared because actors, the learner and evaluation must build the same one.

A network is a trunk, which makes features of a state, and a head: values of actions for the value-based algorithms, a
policy and the value of the state for actor-critic ones.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from headrace_proto.dense import Dense
from headrace_proto.errors import UserError
from headrace_proto.specification import LSTM_UNITS, NetworkName, PrecisionName, RunSpecification

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

    `precision` (`dtype`) is what their products are computed in, as torch's autocast does it; parameters stay float32.

    forward: uint8 [N, S, 84, 84] to float32 [N, features]
    """

    def __init__(
        self, name: NetworkName, state_shape: tuple[int, int, int], *, layer_norm: bool, precision: PrecisionName
    ) -> None:
        super().__init__()
        self.dtype: torch.dtype = getattr(torch, precision)
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
        self.hidden = nn.Sequential(
            *_hidden_layer(Dense(channels * height * width, self.features), layer_norm=layer_norm)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, states: Tensor) -> Tensor:
        """Features of each state."""
        # To floats and then in the order of channels-last memory: both at once takes longer. A copy even of floats, for
        # what is then scaled in place would be the caller's.
        floats = states.to(self.dtype, copy=True)
        pixels = floats.contiguous(memory_format=torch.channels_last).mul_(1 / 255)
        with self._autocast(states.device):
            features: Tensor = self.hidden(self.convolutions(pixels).flatten(1))
        return features.float()

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device.type, self.dtype)


class VectorTrunk(nn.Module):
    """Two hidden layers of 128 over a flattened observation.

    forward: uint8 or float32 [N, S, *shape] to float32 [N, 128]
    """

    def __init__(self, inputs: int, *, layer_norm: bool) -> None:
        super().__init__()
        self.features = HIDDEN["mlp"]
        self.hidden = nn.Sequential(
            *_hidden_layer(nn.Linear(inputs, self.features), layer_norm=layer_norm),
            *_hidden_layer(nn.Linear(self.features, self.features), layer_norm=layer_norm),
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


@dataclass(frozen=True, slots=True)
class Sequences:
    """How the M states of a batch lie in its R rollouts, for networks that remember.

    rollouts, steps: int64 [M], the rollout of each state, and its place in it from 0
    longest: states of the longest rollout, the last one counted in
    recurrent_states: float32 [R, 2, LSTM_UNITS], hidden state and cell before each first state; None without an LSTM
    """

    rollouts: Tensor
    steps: Tensor
    longest: int
    recurrent_states: Tensor | None


class PolicyNetwork(nn.Module):
    """A policy over the actions and the value of the state, from the same features.

    forward: [M, S, *frame_shape], the states of whole rollouts, to logits float32 [M, actions] and values float32 [M]
    """

    def __init__(self, trunk: Trunk, actions: int, features: int | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.policy = nn.Linear(features or trunk.features, actions)
        self.value = nn.Linear(features or trunk.features, 1)
        # Nearly even at the start, the policy explores (arXiv 2006.05990, section 3.2).
        _make_orthogonal(trunk, math.sqrt(2.0))
        _make_orthogonal(self.policy, 0.01)
        _make_orthogonal(self.value, 1.0)

    def forward(self, states: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Logits and values of the states of whole rollouts, which lie as `sequences` says."""
        return self._heads(self.trunk(states))

    def step(self, states: Tensor, recurrent_states: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits [N, actions] of one state of each of N environments, and what is remembered after it."""
        logits: Tensor = self.policy(self.trunk(states))
        return logits, None

    def initial_states(self, environments: int) -> Tensor | None:
        """What is remembered at the start of a game: nothing."""
        return None

    def _heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy(features), self.value(features).squeeze(1)


class RecurrentPolicyNetwork(PolicyNetwork):
    """The same with an LSTM between trunk and heads (arXiv 1602.01783, section 5.1), started at zero in every game."""

    def __init__(self, trunk: Trunk, actions: int) -> None:
        super().__init__(trunk, actions, LSTM_UNITS)
        self.lstm = nn.LSTM(trunk.features, LSTM_UNITS)
        for name, parameter in self.lstm.named_parameters():
            nn.init.orthogonal_(parameter) if name.startswith("weight") else nn.init.zeros_(parameter)

    def forward(self, states: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """The same; each rollout is unrolled from its own recurrent state."""
        assert sequences.recurrent_states is not None
        features = self.trunk(states)
        # Rollouts side by side, padded at their ends: nothing that is read comes after the padding.
        padded = features.new_zeros(sequences.longest, len(sequences.recurrent_states), features.shape[1])
        padded[sequences.steps, sequences.rollouts] = features
        remembered, _ = self.lstm(padded, _hidden_and_cell(sequences.recurrent_states))
        return self._heads(remembered[sequences.steps, sequences.rollouts])

    def step(self, states: Tensor, recurrent_states: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The same; recurrent states are float32 [N, 2, LSTM_UNITS]."""
        assert recurrent_states is not None
        remembered, after = self.lstm(self.trunk(states).unsqueeze(0), _hidden_and_cell(recurrent_states))
        return self.policy(remembered.squeeze(0)), torch.stack([part.squeeze(0) for part in after], dim=1)

    def initial_states(self, environments: int) -> Tensor | None:
        """Zeros, float32 [environments, 2, LSTM_UNITS]."""
        return torch.zeros(environments, 2, LSTM_UNITS)


def takes_pixels(frame_shape: tuple[int, ...]) -> bool:
    """Whether the convolutional networks can take frames of a shape."""
    return len(frame_shape) == 2 and min(frame_shape) >= SMALLEST_FRAME


def make_trunk(
    name: NetworkName, state_shape: tuple[int, ...], *, layer_norm: bool, precision: PrecisionName = "float32"
) -> Trunk:
    """The trunk called `name` for states of a shape, e.g. (4, 84, 84); raises UserError if they do not fit."""
    if name == "mlp":
        if precision != "float32":
            raise UserError(f"--precision {precision}: is for convolutions; allowed with --network mlp: float32")
        return VectorTrunk(int(torch.Size(state_shape).numel()), layer_norm=layer_norm)
    if not takes_pixels(state_shape[1:]):
        raise UserError(
            f"--network {name}: needs frames of at least {SMALLEST_FRAME}x{SMALLEST_FRAME} pixels, the game's states "
            f"have shape {state_shape}; allowed here: mlp"
        )
    stack, height, width = state_shape
    return PixelTrunk(name, (stack, height, width), layer_norm=layer_norm, precision=precision)


def build_for(run: RunSpecification) -> ValueNetwork | PolicyNetwork:
    """The network of a run; raises UserError if it does not fit the run's states."""
    trunk = make_trunk(run.network, run.state_shape, layer_norm=run.layer_norm, precision=run.precision)
    if run.head == "policy":
        return RecurrentPolicyNetwork(trunk, run.actions) if run.lstm else PolicyNetwork(trunk, run.actions)
    network = ValueNetwork(trunk, run.actions)
    return initialised(network) if run.layer_norm else network


def published(network: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, as they are sent to actors: of layers that multiply in bfloat16, in bfloat16.

    These layers round their parameters to it before they multiply, so that what an actor computes is the same to the
    bit, of half the bytes.
    """
    parameters: dict[str, Tensor] = dict(network.state_dict())
    trunks = {name: trunk for name, trunk in network.named_modules() if isinstance(trunk, PixelTrunk)}
    for name, trunk in trunks.items():
        for layer, module in trunk.named_modules(prefix=name):
            if isinstance(module, nn.Conv2d | nn.Linear):
                parameters |= {f"{layer}.{part}": of.detach().to(trunk.dtype) for part, of in module.named_parameters()}
    return parameters


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


def _hidden_layer(layer: nn.Linear, *, layer_norm: bool) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.LayerNorm(layer.out_features)] if layer_norm else []
    return [layer, *norm, nn.ReLU()]


def _hidden_and_cell(recurrent_states: Tensor) -> tuple[Tensor, Tensor]:
    """What nn.LSTM starts from: [N, 2, LSTM_UNITS] as two of [1, N, LSTM_UNITS]."""
    return recurrent_states[:, 0].unsqueeze(0).contiguous(), recurrent_states[:, 1].unsqueeze(0).contiguous()


def _make_orthogonal(module: nn.Module, gain: float) -> None:
    """Orthogonal weights, whatever their order in memory, and no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                layer.weight.copy_(nn.init.orthogonal_(torch.empty(layer.weight.shape), gain))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
