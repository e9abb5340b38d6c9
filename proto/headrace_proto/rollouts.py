"""The payload of TRANSITIONS: one rollout of one environment, its frames shared between the states."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_proto import codec
from headrace_proto.errors import WireError
from headrace_proto.specification import LSTM_UNITS, RunSpecification

LARGEST_NUMBER = 1e6
"""Of a reward in a run that clips none, of an observation and of an LSTM's state.

Far more than games have, and far less than makes a loss that is no number: by that, one rollout would end the learner.
"""

FIELDS = {
    "frames",
    "actions",
    "rewards",
    "behaviour_probabilities",
    "behaviour_values",
    "recurrent_state",
    "terminated",
    "truncated",
    "n_step",
    "environment",
    "epsilon",
    "episode_return",
    "episode_length",
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """T consecutive transitions of one environment under one version of the weights.

    State t is `frames[t : t + S]`, S being the frame stack; the last state, t = T, is the one to bootstrap from.
    `terminated` and `truncated` speak of the last transition; at most one is set, and neither means that the episode
    goes on in a later rollout.

    frames: uint8 or float32 [T+S, *frame_shape]
    actions: int32 [T]; rewards: float32 [T], clipped if the run clips; behaviour_probabilities: float32 [T]
    behaviour_values: float32 [T], the highest value of each state by the weights that acted; None with a policy
    recurrent_state: float32 [2, LSTM_UNITS], hidden state and cell before the first state; None without an LSTM
    episode_return, episode_length: raw score and env_steps of the whole game if it ended here, else None
    """

    frames: NDArray[Any]
    actions: NDArray[np.int32]
    rewards: NDArray[np.float32]
    behaviour_probabilities: NDArray[np.float32]
    behaviour_values: NDArray[np.float32] | None
    recurrent_state: NDArray[np.float32] | None
    terminated: bool
    truncated: bool
    n_step: int
    environment: int
    epsilon: float
    episode_return: float | None
    episode_length: int | None

    def __len__(self) -> int:
        """Number of transitions, T."""
        return len(self.actions)

    def encode(self) -> bytes:
        """The msgpack map that crosses the wire."""
        return codec.encode({name: getattr(self, name) for name in sorted(FIELDS)})


def decode(data: bytes | memoryview, run: RunSpecification, count: int) -> Rollout:
    """Decode a rollout and hold it against the run and the count in its header; raises WireError."""
    fields = codec.decode(data, max_payload_bytes(run))
    if not isinstance(fields, dict) or set(fields) != FIELDS:
        raise WireError("malformed", "a rollout is a map with exactly the fields of the specification")
    rollout = Rollout(**fields)
    _check(rollout, run, count)
    return rollout


def largest_reward(reward_clip: float) -> float:
    """Upper limit of a reward, and of what one takes away, where rewards are clipped to this; 0 for no clipping."""
    return reward_clip or LARGEST_NUMBER


def max_payload_bytes(run: RunSpecification) -> int:
    """Upper limit of an encoded rollout of the run, in bytes."""
    frame = math.prod(run.frame_shape) * np.dtype(run.frame_dtype).itemsize
    recurrent = 2 * LSTM_UNITS * 4 if run.lstm else 0
    return (run.rollout_length + run.frame_stack) * frame + run.rollout_length * 16 + recurrent + 2048


def _check(rollout: Rollout, run: RunSpecification, count: int) -> None:
    if not 1 <= count <= run.rollout_length:
        raise WireError("malformed", f"a rollout has 1 to {run.rollout_length} transitions, not {count}")
    _check_array("actions", rollout.actions, "<i4", (count,))
    _check_array("rewards", rollout.rewards, "<f4", (count,))
    _check_array("behaviour_probabilities", rollout.behaviour_probabilities, "<f4", (count,))
    if run.head == "values":
        _check_array("behaviour_values", rollout.behaviour_values, "<f4", (count,))
    elif rollout.behaviour_values is not None:
        raise WireError("malformed", "behaviour_values is nil where the run's network has a policy")
    if run.lstm:
        _check_array("recurrent_state", rollout.recurrent_state, "<f4", (2, LSTM_UNITS))
    elif rollout.recurrent_state is not None:
        raise WireError("malformed", "recurrent_state is nil where the run's network has no LSTM")
    _check_array("frames", rollout.frames, run.frame_dtype, (count + run.frame_stack, *run.frame_shape))
    _check_scalars(rollout, run)
    _check_episode(rollout)
    if rollout.actions.min() < 0 or rollout.actions.max() >= run.actions:
        raise WireError("malformed", f"an action is outside 0..{run.actions - 1}")
    _check_numbers(rollout, run)


def _check_numbers(rollout: Rollout, run: RunSpecification) -> None:
    """Every float is finite and within its limit, but for values: what is too large for one the learner knows."""
    reward = largest_reward(run.reward_clip)
    limits = {
        "rewards": (-reward, reward),
        "behaviour_probabilities": (0.0, 1.0),
        "frames": (-LARGEST_NUMBER, LARGEST_NUMBER),
        "recurrent_state": (-LARGEST_NUMBER, LARGEST_NUMBER),
    }
    for name, (least, most) in limits.items():
        array = getattr(rollout, name)
        if array is None or array.dtype.kind != "f":
            continue
        if not np.isfinite(array).all():
            raise WireError("not_finite", f"{name} has a number that is not finite")
        if array.min() < np.float32(least) or array.max() > np.float32(most):
            raise WireError("malformed", f"{name} has a number outside {least:g}..{most:g}")


def _check_scalars(rollout: Rollout, run: RunSpecification) -> None:
    if type(rollout.terminated) is not bool or type(rollout.truncated) is not bool:
        raise WireError("malformed", "terminated and truncated are booleans")
    if rollout.terminated and rollout.truncated:
        raise WireError("malformed", "a transition is terminated or truncated, not both")
    if type(rollout.environment) is not int or rollout.environment < 0:
        raise WireError("malformed", "environment is an index")
    if type(rollout.n_step) is not int or rollout.n_step != run.n_step:
        raise WireError("malformed", f"n_step is {rollout.n_step!r}, the run's is {run.n_step}")
    if type(rollout.epsilon) is not float or not 0 <= rollout.epsilon <= 1:
        raise WireError("malformed", "epsilon is a probability")


def _check_episode(rollout: Rollout) -> None:
    if rollout.episode_return is None and rollout.episode_length is None:
        return
    if type(rollout.episode_return) is not float or not np.isfinite(rollout.episode_return):
        raise WireError("malformed", "the return of an ended game is a finite number")
    if type(rollout.episode_length) is not int or rollout.episode_length < 1:
        raise WireError("malformed", "the length of an ended game is a number of env_steps")


def _check_array(name: str, array: object, dtype: str, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.str != dtype or array.shape != shape:
        found = f"{array.dtype.str} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise WireError("malformed", f"{name} must be {dtype} {shape}, not {found}")
