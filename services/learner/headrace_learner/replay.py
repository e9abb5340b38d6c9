"""An optional replay in the learner: the newest transitions, and samples of them. No sockets, no clocks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headrace_learner.batches import Batch, interleaved
from headrace_learner.sum_tree import SumTree
from headrace_learner.targets import NStepTargets, transitions_left
from headrace_learner.transitions import Transitions
from headrace_proto.specification import RunSpecification

SMALLEST_PRIORITY = 1e-6
"""Added to |TD error|, so that what was predicted exactly is sampled again."""

ROW = np.dtype(
    [
        ("rollout", np.int64),  # arrival of the rollout's first transition
        ("version", np.int64),  # of the weights that chose the action
        ("offset", np.int32),  # of the transition in its rollout
        ("steps", np.int32),
        ("action", np.int32),
        ("return", np.float32),
        ("discount", np.float32),
    ]
)
"""What is kept of a transition beside its frames; steps, return and discount are those of NStepTargets."""


@dataclass(frozen=True, slots=True)
class Sample:
    """M transitions from a replay.

    places: int64 [M], where the replay keeps them
    versions: int64 [M], the weights that chose each action
    """

    transitions: Transitions
    places: NDArray[np.int64]
    versions: NDArray[np.int64]


class Replay:
    """A table in Reverb's words: a FIFO remover, and a sampler in proportion to priorities.

    P(i) = p_i^alpha / sum_j p_j^alpha with p_i = |TD error| + a little, a new transition having the largest p so far;
    its loss is multiplied by (N P(i))^-beta over the largest of these in the sample (Schaul et al., arXiv 1511.05952,
    equation 1 and section 3.4). With alpha = 0 that is a uniform replay.

    Transitions are numbered as they arrive, and number i lies at place i mod max_size. Rollouts are kept whole, each
    frame once; one leaves before `max_size` others have arrived since its first transition, rejected ones included, and
    when `most_batches` have come after it: batches may be short, and then bring fewer than the size alone says.
    """

    def __init__(
        self,
        run: RunSpecification,
        max_size: int,
        most_batches: int,
        alpha: float,
        beta: float,
        seed: Sequence[int] = (0,),
    ) -> None:
        """`max_size` is at least a batch; `seed` is that of the sampling."""
        self._run = run
        self._max_size = max_size
        self._alpha, self._beta = alpha, beta
        self._random = np.random.default_rng(seed)
        self._rows = np.zeros(max_size, ROW)
        self._batch_starts: deque[int] = deque(maxlen=most_batches)
        self._frames: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._priorities = SumTree(max_size)
        self._largest_priority = 1.0
        self._arrived = 0
        self._size = 0

    def __len__(self) -> int:
        """Number of transitions that may be sampled."""
        return self._size

    @property
    def has_priorities(self) -> bool:
        """Whether errors make a difference: in a uniform replay every priority is 1, and need not be updated."""
        return self._alpha > 0

    def insert(self, batch: Batch, parts: NStepTargets) -> None:
        """Keep a batch's transitions with what n steps brought each; the oldest rollouts make room."""
        first, count = self._arrived, len(batch)
        self._arrived += count + sum(batch.rejected.values())
        self._batch_starts.append(first)
        self._remove_before(max(self._arrived - self._max_size, self._batch_starts[0]))
        rows = _rows(batch, parts, first)
        places = (first + np.arange(count)) % self._max_size
        self._rows[places] = rows
        self._frames.update(zip(rows["rollout"][rows["offset"] == 0].tolist(), batch.frames(), strict=True))
        self._priorities.set(places, self._largest_priority**self._alpha)
        self._size += count

    def sample(self, count: int) -> Sample:
        """Draw transitions, one from each of `count` equal parts of the sum of all priorities (appendix B.2.1)."""
        total = self._priorities.total
        places = self._priorities.find((np.arange(count) + self._random.random(count)) * (total / count))
        rows = self._rows[places]
        probabilities = self._priorities.priorities(places) / total
        weights = (self._size * probabilities) ** -self._beta
        transitions = Transitions(
            states=self._states(rows["rollout"], rows["offset"]),
            actions=torch.from_numpy(rows["action"].astype(np.int64)),
            returns=torch.from_numpy(rows["return"].copy()),
            discounts=torch.from_numpy(rows["discount"].copy()),
            states_ahead=self._states(rows["rollout"], rows["offset"] + rows["steps"]),
            ahead=torch.arange(count),
            weights=torch.from_numpy((weights / weights.max()).astype(np.float32)),
        )
        return Sample(transitions, places, rows["version"].copy())

    def update_priorities(self, places: NDArray[np.int64], errors: NDArray[np.float32]) -> None:
        """The priorities of sampled transitions by their newest TD errors, float32 [M]."""
        priorities = np.abs(errors.astype(np.float64)) + SMALLEST_PRIORITY
        self._largest_priority = max(self._largest_priority, float(priorities.max()))
        self._priorities.set(places, priorities**self._alpha)

    def _remove_before(self, arrival: int) -> None:
        """Remove the rollouts of which a transition arrived before that number."""
        while self._frames and (first := next(iter(self._frames))) < arrival:
            length = len(self._frames.pop(first)) - self._run.frame_stack
            self._priorities.set((first + np.arange(length)) % self._max_size, 0.0)
            self._size -= length

    def _states(self, rollouts: NDArray[np.int64], offsets: NDArray[np.int32]) -> torch.Tensor:
        """The states at offsets of rollouts, [M, S, *frame_shape], their stack last in memory as a batch has it."""
        memory = np.empty((len(rollouts), *self._run.frame_shape, self._run.frame_stack), self._run.frame_dtype)
        stack = self._run.frame_stack
        for state, rollout, offset in zip(memory, rollouts.tolist(), offsets.tolist(), strict=True):
            state[...] = interleaved(self._frames[rollout][offset : offset + stack], stack)[0]
        states: torch.Tensor = torch.from_numpy(memory).movedim(-1, 1)
        return states


def bytes_per_transition(run: RunSpecification) -> float:
    """Memory that a replay takes for a transition of a whole rollout: (T + S) / T frames, its row and its priority."""
    frame = int(np.prod(run.frame_shape)) * np.dtype(run.frame_dtype).itemsize
    frames = (run.rollout_length + run.frame_stack) / run.rollout_length
    node = 8
    return frame * frames + ROW.itemsize + 4 * node  # a leaf and its sum, of the next power of two


def _rows(batch: Batch, parts: NStepTargets, first: int) -> NDArray[Any]:
    count = len(batch)
    offsets = np.repeat(batch.lengths, batch.lengths) - transitions_left(batch.lengths)
    rows = np.empty(count, ROW)
    rows["rollout"] = first + np.arange(count) - offsets
    rows["version"] = batch.versions
    rows["offset"] = offsets
    rows["steps"] = parts.steps
    rows["action"] = batch.actions.numpy()
    rows["return"] = parts.returns
    rows["discount"] = parts.discounts
    return rows
