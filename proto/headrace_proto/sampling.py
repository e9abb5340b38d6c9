"""Acting by a policy network: actions are sampled, and what an LSTM remembers is kept from step to step.

Shared, because an actor and an evaluation must play the same policy in the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headrace_proto.networks import PolicyNetwork


class Choices(NamedTuple):
    """What N environments do next.

    actions: int64 [N]
    probabilities: float32 [N], of these actions under the policy that chose them
    values: float32 [N], the highest value of each state; None of a policy, which is chosen by without values
    recurrent_states: float32 [N, 2, LSTM_UNITS], what the network remembered before; None without an LSTM
    """

    actions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    values: NDArray[np.float32] | None = None
    recurrent_states: NDArray[np.float32] | None = None


class Sampler:
    """Plays a policy network in N environments at once."""

    def __init__(self, network: PolicyNetwork) -> None:
        self._network = network
        self._recurrent_states: NDArray[np.float32] | None = None

    def choose(self, states: NDArray[Any], uniforms: NDArray[np.float64]) -> Choices:
        """Sample an action in each state.

        states: [N, S, *frame_shape], of the same environments each time; uniforms: float64 [N] from [0, 1)
        """
        with torch.inference_mode():
            known = self._recurrent_states
            before = self._network.initial_states(len(states)) if known is None else torch.from_numpy(known)
            logits, after = self._network.step(torch.from_numpy(states), before)
        self._recurrent_states = None if after is None else after.numpy()
        actions, probabilities = sample(logits.numpy(), uniforms)
        return Choices(actions, probabilities, recurrent_states=None if before is None else before.numpy())

    def begin_game(self, environment: int) -> None:
        """The next state of an environment is the first one of a game: what came before is forgotten."""
        if self._recurrent_states is not None:
            self._recurrent_states[environment] = 0.0


def sample(logits: NDArray[np.float32], uniforms: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Actions drawn from softmax(logits), [N], and the probability of each, [N].

    An action is the first whose cumulated probability exceeds the uniform number, so that equal numbers give equal
    actions.

    logits: [N, A]; uniforms: [N] from [0, 1)
    """
    weights = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    cumulated = weights.cumsum(1)
    totals = cumulated[:, -1]
    actions: NDArray[np.int64] = (cumulated <= (uniforms * totals)[:, None]).sum(1)
    chosen = np.take_along_axis(weights, actions[:, None], 1)[:, 0]
    return actions, (chosen / totals).astype(np.float32)
