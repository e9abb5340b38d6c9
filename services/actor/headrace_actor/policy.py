"""How an actor chooses actions: the run's network under the learner's weights, one inference for all environments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace_actor import exploration
from headrace_proto import networks
from headrace_proto.networks import PolicyNetwork
from headrace_proto.sampling import Choices, Sampler
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights


class Policy(ABC):
    """Chooses by the newest weights that a round began with.

    epsilons: float64 [environments], the share of each environment's actions that is drawn evenly
    """

    def __init__(self, run: RunSpecification) -> None:
        """Build the network; raises UserError if it does not fit the run's frames."""
        torch.set_num_threads(1)
        self._network = networks.build_for(run).eval()
        self._loaded: Weights | None = None
        self._layout = _layout(networks.published(self._network))
        self.epsilons = np.zeros(run.environments_per_actor)

    def fits(self, weights: Weights) -> bool:
        """Whether the weights are of this network: the same parameters, of the same shapes and types.

        Of another type they would be rounded without a word.
        """
        return _layout(weights.tensors) == self._layout

    def begin_round(self, weights: Weights) -> None:
        """Act by these weights from now on."""
        if weights is not self._loaded:
            # Nothing is copied: the network takes the tensors that came, each in the type that it is computed in.
            self._network.load_state_dict(weights.tensors, assign=True)
            self._loaded = weights

    @abstractmethod
    def choose(self, states: NDArray[Any], uniforms: NDArray[np.float64]) -> Choices:
        """Actions in states [N, S, *frame_shape], by uniforms [N, 2] from [0, 1)."""

    def begin_game(self, environment: int) -> None:  # noqa: B027 most policies remember nothing
        """The next state of an environment is the first one of a game."""


class EpsilonGreedyPolicy(Policy):
    """The action of highest value, but for a share epsilon, which falls as the run goes on."""

    def __init__(self, run: RunSpecification, actor: int) -> None:
        super().__init__(run)
        self._run = run
        self._final_epsilons = exploration.final_epsilons(run, actor)

    def begin_round(self, weights: Weights) -> None:
        """Act by these weights, and explore as their env_steps say."""
        super().begin_round(weights)
        self.epsilons = exploration.annealed(self._run, self._final_epsilons, weights.env_steps)

    def choose(self, states: NDArray[Any], uniforms: NDArray[np.float64]) -> Choices:
        """The first uniform number decides whether to explore, the second with which action."""
        with torch.inference_mode():
            values, greedy = (part.numpy() for part in self._network(torch.from_numpy(states)).max(1))
        return Choices(*exploration.epsilon_greedy(greedy, self.epsilons, uniforms, self._run.actions), values)


class SampledPolicy(Policy):
    """Actions sampled from the network's policy, which remembers the game if it has an LSTM."""

    def __init__(self, run: RunSpecification) -> None:
        super().__init__(run)
        assert isinstance(self._network, PolicyNetwork)
        self._sampler = Sampler(self._network)

    def choose(self, states: NDArray[Any], uniforms: NDArray[np.float64]) -> Choices:
        """The first uniform number decides."""
        return self._sampler.choose(states, uniforms[:, 0])

    def begin_game(self, environment: int) -> None:
        """Forget the game before."""
        self._sampler.begin_game(environment)


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def make(run: RunSpecification, actor: int) -> Policy:
    """The policy that the head of the run's network calls for, of the actor with that index."""
    return EpsilonGreedyPolicy(run, actor) if run.head == "values" else SampledPolicy(run)
