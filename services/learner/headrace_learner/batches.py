"""A batch of rollouts as the learner trains it, assembled off the training thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headrace_learner.targets import transitions_left
from headrace_proto import messages, rollouts
from headrace_proto.errors import WireError
from headrace_proto.messages import BatchHeader, RolloutHeader
from headrace_proto.networks import Sequences
from headrace_proto.rollouts import Rollout
from headrace_proto.specification import LSTM_UNITS, RunSpecification


@dataclass(frozen=True, slots=True)
class Episode:
    """A game that ended: raw score, and its length in env_steps."""

    score: float
    length: int


@dataclass(frozen=True, slots=True)
class Batch:
    """N transitions of R rollouts, those of a rollout one after another.

    header: the frame that it came with
    states: uint8 or float32 [N+R, S, *frame_shape]; the N states acted in, then the R last states of the rollouts
    actions: int64 [N]
    rewards, behaviour_probabilities: float32 [N]
    behaviour_values: float32 [N], the highest value of each state by the weights that acted; None with a policy
    lengths: int64 [R], transitions of each rollout
    terminated, truncated: bool [R], of the last transition of each rollout
    epsilons: float32 [R]
    versions: int64 [N], the weights that chose each action
    episodes: the games that ended in it
    rejected: transitions refused, by reason; with N they are the header's count
    recurrent_states: float32 [R, 2, LSTM_UNITS], before each rollout's first state; None without an LSTM
    """

    header: BatchHeader
    states: torch.Tensor
    actions: torch.Tensor
    rewards: NDArray[np.float32]
    behaviour_probabilities: NDArray[np.float32]
    behaviour_values: NDArray[np.float32] | None
    lengths: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    epsilons: NDArray[np.float32]
    versions: NDArray[np.int64]
    episodes: list[Episode] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    recurrent_states: torch.Tensor | None = None

    def __len__(self) -> int:
        """Number of transitions, N."""
        return len(self.actions)

    @property
    def acted_states(self) -> torch.Tensor:
        """The states in which the actions were chosen, [N, S, *frame_shape]; a view."""
        return self.states[: len(self)]

    def states_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Some of the states, [M, S, *frame_shape]; rows are int64 [M].

        Selected in the order of their memory, where each is one piece: many times as fast as `states[rows]`.
        """
        return self.states.movedim(1, -1).index_select(0, rows).movedim(-1, 1)

    @property
    def sequences(self) -> Sequences:
        """Where each row of `states` stands: its rollout, and its place in it."""
        device, indices = self.states.device, np.arange(len(self.lengths))
        rollouts = np.concatenate([np.repeat(indices, self.lengths), indices])
        places = np.concatenate([np.repeat(self.lengths, self.lengths) - transitions_left(self.lengths), self.lengths])
        return Sequences(
            torch.from_numpy(rollouts).to(device),
            torch.from_numpy(places).to(device),
            int(self.lengths.max(initial=0)) + 1,
            self.recurrent_states,
        )

    def row_after(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row in `states` of the state that lies `steps` transitions after each one, within its rollout. int64 [N]."""
        count, rollout = len(self), np.repeat(np.arange(len(self.lengths)), self.lengths)
        is_last = steps == transitions_left(self.lengths)
        rows: NDArray[np.int64] = np.where(is_last, count + rollout, np.arange(count) + steps)
        return rows

    @property
    def next_rows(self) -> NDArray[np.int64]:
        """Row in `states` of the state after each transition. int64 [N]."""
        return self.row_after(np.ones(len(self), dtype=np.int64))

    def frames(self) -> list[NDArray[Any]]:
        """The frames of each rollout as they came, [T+S, *frame_shape], each once; copies."""
        stacks = self.states.movedim(1, -1).numpy()
        starts = np.cumsum(self.lengths) - self.lengths
        return [
            np.concatenate(
                [
                    np.moveaxis(stacks[start], -1, 0),
                    stacks[start + 1 : start + length, ..., -1],
                    stacks[len(self) + rollout, ..., -1][np.newaxis],
                ]
            )
            for rollout, (start, length) in enumerate(zip(starts, self.lengths, strict=True))
        ]

    def to(self, device: torch.device) -> Batch:
        """The batch with states, actions and recurrent states on a device."""
        recurrent_states = None if self.recurrent_states is None else self.recurrent_states.to(device)
        return replace(
            self,
            states=self.states.to(device),
            actions=self.actions.to(device),
            recurrent_states=recurrent_states,
        )


def assemble(header: BatchHeader, frames: Sequence[bytes | memoryview], run: RunSpecification) -> Batch:
    """Decode the frames that follow a BATCH's header; rollouts that break the specification are left out and counted.

    A transition of the header's count that no good rollout brings is rejected, so that the account closes whatever
    came.
    """
    accepted: list[tuple[RolloutHeader, Rollout]] = []
    rejected: Counter[str] = Counter()
    for header_frame, payload in zip(frames[0::2], frames[1::2], strict=False):
        try:
            rollout_header = messages.decode(RolloutHeader, bytes(header_frame))
        except WireError:
            continue
        try:
            accepted.append((rollout_header, rollouts.decode(payload, run, rollout_header.count)))
        except WireError as error:
            rejected[error.reason] += rollout_header.count
    unaccounted = header.count - rejected.total() - sum(len(rollout) for _, rollout in accepted)
    if unaccounted > 0:
        rejected["malformed"] += unaccounted
    return _batch(header, accepted, dict(rejected), run)


def _batch(
    header: BatchHeader, accepted: list[tuple[RolloutHeader, Rollout]], rejected: dict[str, int], run: RunSpecification
) -> Batch:
    played = [rollout for _, rollout in accepted]
    lengths = np.array([len(rollout) for rollout in played], dtype=np.int64)
    versions = np.array([rollout_header.weights_version for rollout_header, _ in accepted], dtype=np.int64)
    return Batch(
        header=header,
        states=_states(played, run),
        actions=torch.from_numpy(_joined([rollout.actions for rollout in played], np.int64)),
        rewards=_joined([rollout.rewards for rollout in played], np.float32),
        behaviour_probabilities=_joined([rollout.behaviour_probabilities for rollout in played], np.float32),
        behaviour_values=_behaviour_values(played) if run.head == "values" else None,
        lengths=lengths,
        terminated=np.array([rollout.terminated for rollout in played], dtype=np.bool_),
        truncated=np.array([rollout.truncated for rollout in played], dtype=np.bool_),
        epsilons=np.array([rollout.epsilon for rollout in played], dtype=np.float32),
        versions=np.repeat(versions, lengths),
        episodes=[
            Episode(rollout.episode_return, rollout.episode_length)
            for rollout in played
            if rollout.episode_return is not None and rollout.episode_length is not None
        ],
        rejected=rejected,
        recurrent_states=_recurrent_states(played) if run.lstm else None,
    )


def _joined(arrays: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays], dtype=dtype)


def _behaviour_values(played: list[Rollout]) -> NDArray[np.float32]:
    return _joined([values for rollout in played if (values := rollout.behaviour_values) is not None], np.float32)


def _recurrent_states(played: list[Rollout]) -> torch.Tensor:
    found = [state[None] for rollout in played if (state := rollout.recurrent_state) is not None]
    return torch.from_numpy(np.concatenate([np.empty((0, 2, LSTM_UNITS), np.float32), *found]))


def _states(played: list[Rollout], run: RunSpecification) -> torch.Tensor:
    """Unstack the shared frames: state t is frames[t : t + S].

    The frame stack comes last in memory, as the channels-last convolutions read it: that makes the conversion to
    floats on the training thread eight times as fast.
    """
    count = sum(len(rollout) for rollout in played)
    stack = run.frame_stack
    memory = np.empty((count + len(played), *run.frame_shape, stack), dtype=run.frame_dtype)
    start = 0
    for index, rollout in enumerate(played):
        length = len(rollout)
        unstacked = interleaved(rollout.frames, stack)
        memory[start : start + length] = unstacked[:length]
        memory[count + index] = unstacked[length]
        start += length
    states: torch.Tensor = torch.from_numpy(memory).movedim(-1, 1)
    return states


def interleaved(frames: NDArray[Any], stack: int) -> NDArray[Any]:
    """Frames [T+S, *shape] as states [T+1, *shape, S].

    Four bytes are put together in a word, which is faster by far than to write each with a stride.
    """
    count = len(frames) - stack + 1
    if stack == 4 and frames.dtype == np.uint8:
        wide = frames.astype("<u4")
        words = wide[3:] << 8
        for position in (2, 1):
            words |= wide[position : position + count]
            words <<= 8
        words |= wide[:count]
        return words.view(np.uint8).reshape(*words.shape, stack)
    return np.stack([frames[position : position + count] for position in range(stack)], axis=-1)
