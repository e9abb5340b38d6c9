"""The policy: the run's network under the learner's weights, one inference for all environments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headrace_proto import networks
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights


class Policy:
    """Greedy actions by the newest weights loaded."""

    def __init__(self, run: RunSpecification) -> None:
        """Build the network; raises UserError if it does not fit the run's frames."""
        torch.set_num_threads(1)
        self._network = networks.build_for(run).eval()
        self._loaded: Weights | None = None
        self._shapes = {name: tensor.shape for name, tensor in self._network.state_dict().items()}

    def fits(self, weights: Weights) -> bool:
        """Whether the weights are of this network: the same parameters in the same shapes."""
        return {name: tensor.shape for name, tensor in weights.tensors.items()} == self._shapes

    def load(self, weights: Weights) -> None:
        """Act by these weights from now on."""
        if weights is not self._loaded:
            self._network.load_state_dict(weights.tensors)
            self._loaded = weights

    def greedy(self, states: NDArray[Any]) -> NDArray[np.int64]:
        """The action of highest value in each state, [N, S, *frame_shape] to [N]."""
        with torch.inference_mode():
            values = self._network(torch.from_numpy(states))
        actions: NDArray[np.int64] = values.argmax(1).numpy()
        return actions
