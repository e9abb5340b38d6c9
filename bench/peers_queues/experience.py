"""What the queues carry: transitions of Atari or CartPole, packed for those queues that carry bytes.

numpy and msgpack alone, since it runs in the environments of the others too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from peers_queues.contest import Messages, Payload

ROLLOUT_LENGTH = 5
BATCH_SIZE = 64
FRAME_SHAPES: dict[Payload, tuple[int, ...]] = {"atari": (84, 84), "cartpole": (4,)}
FRAME_DTYPES: dict[Payload, str] = {"atari": "|u1", "cartpole": "<f4"}
FRAME_STACKS: dict[Payload, int] = {"atari": 4, "cartpole": 1}
PREPARED = 64
"""So many different rollouts are sent in turn."""

Transition = dict[str, Any]
"""state, next_state [S, *frame_shape]; action, reward, terminated."""


@dataclass(frozen=True, slots=True)
class Experience:
    """Rollouts of five steps that share frames: [5+S, *frame_shape] each, float32 or uint8."""

    payload: Payload
    rollouts: Sequence[NDArray[Any]]

    @classmethod
    def read(cls, path: Path, payload: Payload) -> Experience:
        """Cut a file of raw frames into rollouts."""
        shape, stack = FRAME_SHAPES[payload], FRAME_STACKS[payload]
        frames = np.fromfile(path, FRAME_DTYPES[payload]).reshape(-1, *shape)
        length = ROLLOUT_LENGTH + stack
        starts = range(0, len(frames) - length + 1, ROLLOUT_LENGTH)
        return cls(payload, [frames[start : start + length] for start in itertools.islice(starts, PREPARED)])

    def transitions(self, rollout: NDArray[Any]) -> list[Transition]:
        """Its five transitions, each with both its states."""
        stack = FRAME_STACKS[self.payload]
        return [
            {
                "state": rollout[step : step + stack],
                "action": step % 2,
                "reward": float(step),
                "terminated": False,
                "next_state": rollout[step + 1 : step + 1 + stack],
            }
            for step in range(ROLLOUT_LENGTH)
        ]

    def forever(self) -> Iterator[NDArray[Any]]:
        """The rollouts, over and over."""
        return itertools.cycle(self.rollouts)


def pack(transition: Transition) -> bytes:
    """Msgpack of a transition, arrays as their bytes."""
    fields = {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in transition.items()}
    return bytes(msgpack.packb(fields))


def unpack(data: bytes, payload: Payload) -> Transition:
    """The reverse, arrays without a copy."""
    shape = (FRAME_STACKS[payload], *FRAME_SHAPES[payload])
    fields: Transition = msgpack.unpackb(data)
    for name in ("state", "next_state"):
        fields[name] = np.frombuffer(fields[name], FRAME_DTYPES[payload]).reshape(shape)
    return fields


def pack_rollout(rollout: NDArray[Any]) -> bytes:
    """Msgpack of a rollout that shares frames."""
    steps = range(ROLLOUT_LENGTH)
    fields = {
        "frames": rollout.tobytes(),
        "actions": [step % 2 for step in steps],
        "rewards": [float(step) for step in steps],
        "terminated": False,
    }
    return bytes(msgpack.packb(fields))


def unpack_rollout(data: bytes, payload: Payload) -> list[Transition]:
    """Its transitions, whose states share memory."""
    fields = msgpack.unpackb(data)
    frames = np.frombuffer(fields["frames"], FRAME_DTYPES[payload]).reshape(-1, *FRAME_SHAPES[payload])
    return Experience(payload, []).transitions(frames)


def batch(transitions: Sequence[Transition]) -> dict[str, NDArray[Any]]:
    """What a learner trains on: every field stacked, [N, ...]."""
    return {name: np.stack([transition[name] for transition in transitions]) for name in transitions[0]}


def opaque(experience: Experience, messages: Messages) -> list[bytes]:
    """Messages that nobody looks into, made beforehand."""
    if messages == "rollouts":
        return [pack_rollout(rollout) for rollout in experience.rollouts]
    return [pack(transition) for rollout in experience.rollouts for transition in experience.transitions(rollout)]


def transitions_in(messages: Messages) -> int:
    """How many transitions a message has."""
    return ROLLOUT_LENGTH if messages == "rollouts" else 1
