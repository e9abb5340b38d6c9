"""The bounded queue of whole rollouts between the actors and the learner. Pure: the gate owns the sockets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import zmq

from headrace_proto.errors import HeadraceError

Payload = bytes | zmq.Frame


class QueueFullError(HeadraceError):
    """More transitions than the capacity: the ledger let through what it should not have."""


@dataclass(frozen=True, slots=True)
class QueuedRollout:
    """A rollout as it came: its header and its payload, which the gate does not decode."""

    count: int
    header: bytes
    payload: Payload
    arrived_at: float


class RolloutQueue:
    """First in, first out; holds at most `capacity` transitions."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rollouts: deque[QueuedRollout] = deque()
        self.transitions = 0

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self._rollouts)

    def append(self, rollout: QueuedRollout) -> None:
        """Add at the tail; raises QueueFullError."""
        if self.transitions + rollout.count > self._capacity:
            raise QueueFullError(f"{self.transitions} + {rollout.count} transitions, capacity {self._capacity}")
        self._rollouts.append(rollout)
        self.transitions += rollout.count

    def take_batch(self, batch_size: int) -> list[QueuedRollout] | None:
        """The shortest run of rollouts from the head that has at least `batch_size` transitions; None if too few."""
        if self.transitions < batch_size:
            return None
        batch: list[QueuedRollout] = []
        taken = 0
        while taken < batch_size:
            rollout = self._rollouts.popleft()
            taken += rollout.count
            batch.append(rollout)
        self.transitions -= taken
        return batch

    def take_all(self) -> list[QueuedRollout] | None:
        """All rollouts; None if there are none."""
        batch = list(self._rollouts)
        self._rollouts.clear()
        self.transitions = 0
        return batch or None
