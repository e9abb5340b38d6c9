"""The bounded queue: whole rollouts, first in first out, in batches of the size that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_gate.rollout_queue import QueuedRollout, QueueFullError, RolloutQueue


def rollout(count: int, name: int = 0) -> QueuedRollout:
    return QueuedRollout(count, str(name).encode(), b"", arrived_at=0.0)


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(1, 64))
def test_batches_are_the_shortest_runs_from_the_head_that_reach_the_batch_size(
    lengths: list[int], batch_size: int
) -> None:
    queue = RolloutQueue(capacity=10_000)
    for name, count in enumerate(lengths):
        queue.append(rollout(count, name))

    batches = []
    while (batch := queue.take_batch(batch_size)) is not None:
        batches.append(batch)

    for batch in batches:
        counts = [item.count for item in batch]
        assert sum(counts) >= batch_size
        assert sum(counts[:-1]) < batch_size
    names = [item.header for batch in batches for item in batch]
    assert names == [str(name).encode() for name in range(len(names))]
    assert queue.transitions == sum(lengths) - sum(item.count for batch in batches for item in batch)
    assert queue.transitions < batch_size


def test_all_of_it_can_be_taken_and_nothing_of_an_empty_queue() -> None:
    queue = RolloutQueue(capacity=10)
    queue.append(rollout(2))
    queue.append(rollout(3))

    assert [item.count for item in queue.take_all() or []] == [2, 3]
    assert queue.transitions == 0
    assert queue.take_all() is None


def test_a_rollout_past_the_capacity_is_refused_and_changes_nothing() -> None:
    queue = RolloutQueue(capacity=10)
    queue.append(rollout(6))

    with pytest.raises(QueueFullError):
        queue.append(rollout(5))

    assert (queue.transitions, len(queue)) == (6, 1)
