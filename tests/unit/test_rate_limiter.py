"""How many updates an insertion brings."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_learner.rate_limiter import SampleToInsertRatio


def test_the_fraction_of_an_update_is_carried_to_the_next_insertion() -> None:
    limiter = SampleToInsertRatio(samples_per_insert=8.0, min_size_to_sample=0, batch_size=32)
    assert [limiter.insert(count) for count in (4, 5, 1, 2, 32)] == [1, 1, 0, 1, 8]
    assert limiter.achieved == 11 * 32 / 44


def test_nothing_is_sampled_before_the_smallest_size_and_nothing_owed_for_it_after() -> None:
    limiter = SampleToInsertRatio(samples_per_insert=2.0, min_size_to_sample=100, batch_size=10)
    assert [limiter.insert(50), limiter.insert(50), limiter.achieved] == [0, 0, 0.0]
    assert [limiter.insert(4), limiter.insert(1), limiter.insert(10)] == [0, 1, 2]


def test_less_than_one_sample_an_insert_is_an_update_now_and_then() -> None:
    limiter = SampleToInsertRatio(samples_per_insert=0.5, min_size_to_sample=0, batch_size=8)
    assert [limiter.insert(8) for _ in range(4)] == [0, 1, 0, 1]


@settings(deadline=None)
@given(
    ratio=st.floats(0.01, 50),
    least=st.integers(1, 300),
    batch_size=st.integers(1, 64),
    insertions=st.lists(st.integers(1, 100), min_size=1, max_size=100),
)
def test_samples_never_exceed_the_ratio_and_lag_behind_it_by_less_than_a_batch(
    ratio: float, least: int, batch_size: int, insertions: list[int]
) -> None:
    limiter = SampleToInsertRatio(ratio, least, batch_size)
    inserted = sampled = 0
    for count in insertions:
        updates = limiter.insert(count)
        inserted += count
        sampled += updates * batch_size
        assert updates >= 0
        assert updates == 0 or inserted > least
        owed = ratio * max(0, inserted - least)
        assert owed - batch_size - 1e-6 < sampled <= owed + 1e-6
