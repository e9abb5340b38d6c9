"""The policy in a checkpoint, as evaluate, play and the evaluator play it.

That of a value network is greedy, that of a policy network sampled, as in training and in the A3C paper. A share of
random actions may be mixed in; evaluate and play do that, unless told otherwise, for greedy policies alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from headrace_learner.checkpoints import Checkpoint
from headrace_learner.training import load_copy
from headrace_proto import networks
from headrace_proto.networks import PolicyNetwork, ValueNetwork
from headrace_proto.sampling import Sampler
from headrace_proto.specification import HeadName, RunSpecification

DEFAULT_EPSILONS: dict[HeadName, float] = {"values": 0.05, "policy": 0.0}


class CheckpointPolicy(ABC):
    """What the network of a checkpoint prefers; a share epsilon of the actions is random."""

    def __init__(self, actions: int, epsilon: float, random: Generator) -> None:
        self._actions = actions
        self._epsilon = epsilon
        self._random = random

    def actions(self, states: NDArray[Any]) -> NDArray[np.int64]:
        """Actions in states [N, S, *frame_shape], of the same environments each time."""
        preferred = self._preferred(states)
        is_random = self._random.random(len(states)) < self._epsilon
        drawn = self._random.integers(self._actions, size=len(states))
        chosen: NDArray[np.int64] = np.where(is_random, drawn, preferred)
        return chosen

    @abstractmethod
    def _preferred(self, states: NDArray[Any]) -> NDArray[np.int64]: ...

    def begin_game(self, environment: int) -> None:  # noqa: B027 most policies remember nothing
        """The next state of an environment is the first one of a game."""


class GreedyPolicy(CheckpointPolicy):
    """Prefers the action of highest value."""

    def __init__(self, network: ValueNetwork, actions: int, epsilon: float, random: Generator) -> None:
        super().__init__(actions, epsilon, random)
        self._network = network

    def _preferred(self, states: NDArray[Any]) -> NDArray[np.int64]:
        with torch.inference_mode():
            greedy: NDArray[np.int64] = self._network(torch.from_numpy(states)).argmax(1).numpy()
        return greedy


class SampledPolicy(CheckpointPolicy):
    """Samples from the policy, which remembers the game if it has an LSTM."""

    def __init__(self, network: PolicyNetwork, actions: int, epsilon: float, random: Generator) -> None:
        super().__init__(actions, epsilon, random)
        self._sampler = Sampler(network)

    def _preferred(self, states: NDArray[Any]) -> NDArray[np.int64]:
        return self._sampler.choose(states, self._random.random(len(states))).actions

    def begin_game(self, environment: int) -> None:
        """Forget the game before."""
        self._sampler.begin_game(environment)


def read(checkpoint: Checkpoint, epsilon: float, seed: int) -> CheckpointPolicy:
    """The policy of a checkpoint, for its evaluation; raises OSError or InvalidCheckpointError."""
    return make(read_network(checkpoint), checkpoint.state.run, epsilon, seed)


def read_network(checkpoint: Checkpoint) -> ValueNetwork | PolicyNetwork:
    """The network of that policy, in evaluation mode; raises OSError or InvalidCheckpointError.

    Its weights are the running mean that the checkpoint holds, or, if it holds none, those that its actors played by.
    """
    torch.set_num_threads(1)
    network = networks.build_for(checkpoint.state.run)
    load_copy(network, checkpoint.tensors(), "evaluated", "behaviour")
    return network.eval()


def make(network: ValueNetwork | PolicyNetwork, run: RunSpecification, epsilon: float, seed: int) -> CheckpointPolicy:
    """The policy of a network of the run; `seed` is that of its random actions."""
    random = np.random.default_rng(seed)
    if isinstance(network, ValueNetwork):
        return GreedyPolicy(network, run.actions, epsilon, random)
    return SampledPolicy(network, run.actions, epsilon, random)


def epsilon_for(run: RunSpecification, asked: float | None) -> float:
    """The share of random actions that is asked for, or else what the run's kind of policy is played with."""
    return DEFAULT_EPSILONS[run.head] if asked is None else asked
