"""The policy lag of transitions: versions times updates, and the place in the batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace_learner import policy_lag


def lags(versions: list[int], version: int, updates_per_batch: int, minibatches: list[list[int]]) -> list[int]:
    rows = [np.array(minibatch, np.int64) for minibatch in minibatches]
    found: list[int] = policy_lag.of_batch(np.array(versions), version, updates_per_batch, rows).tolist()
    return found


def test_with_one_update_a_batch_it_is_the_difference_of_versions() -> None:
    assert lags([7, 7, 5, 3], 7, 1, []) == [0, 0, 2, 4]


def test_a_version_counts_as_many_updates_as_a_batch_has_minibatches() -> None:
    assert lags([7, 6, 5], 7, 2, []) == [0, 2, 4]


def test_updates_on_earlier_minibatches_of_its_own_batch_count() -> None:
    assert lags([7, 6, 6, 7], 7, 2, [[3, 1], [0, 2]]) == [1, 2, 3, 0]


def test_weights_newer_than_the_learners_have_no_lag() -> None:
    assert lags([9], 7, 1, []) == [0]


@given(ages=st.lists(st.integers(0, 20), min_size=1, max_size=16), updates=st.integers(1, 4))
def test_no_lag_passes_what_the_oldest_version_and_the_last_minibatch_give(ages: list[int], updates: int) -> None:
    rows = list(range(len(ages)))
    minibatches = [rows[start::updates] for start in range(updates)]
    found = lags([20 - age for age in ages], 20, updates, minibatches)
    assert max(found) <= updates * (max(ages) + 1) - 1
    assert min(found) >= updates * min(ages)
