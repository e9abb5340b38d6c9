"""The learning rate and the moments of publishing, copying and saving, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_learner.schedules import learning_rate, passes_multiple


@pytest.mark.parametrize(("env_steps", "expected"), [(0, 1e-3), (250, 7.5e-4), (500, 5e-4), (999, 1e-6), (1000, 0.0)])
def test_the_learning_rate_falls_in_a_line_to_zero(env_steps: int, expected: float) -> None:
    assert learning_rate(1e-3, 1000, env_steps) == pytest.approx(expected)


@pytest.mark.parametrize("env_steps", [1001, 4_250_000, 10**12])
def test_the_learning_rate_is_zero_at_every_step_past_its_end_d3(env_steps: int) -> None:
    assert learning_rate(1e-3, 1000, env_steps) == 0.0


def steps_noticed(start: int, batch: int, every: int, until: int) -> list[int]:
    return [step for step in range(start + batch, until + 1, batch) if passes_multiple(step - batch, step, every)]


def test_the_first_copy_comes_when_the_first_multiple_is_reached_and_not_a_batch_later_d8() -> None:
    assert steps_noticed(0, 20, 10_000, 30_000) == [10_000, 20_000, 30_000]
    assert steps_noticed(0, 64, 10_000, 20_100) == [10_048, 20_032]


def test_a_run_resumed_at_1300000_saves_next_at_1500000_d9() -> None:
    assert steps_noticed(1_300_000, 50, 250_000, 1_800_000) == [1_500_000, 1_750_000]


def test_a_batch_that_spans_several_multiples_is_noticed_once() -> None:
    assert steps_noticed(0, 64, 10, 192) == [64, 128, 192]


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 40))
def test_every_multiple_is_noticed_by_exactly_one_batch(batch: int, every: int, batches: int) -> None:
    until = batch * batches
    reached = {step // every for step in steps_noticed(0, batch, every, until)}
    passed = {-(-multiple // batch) * batch for multiple in range(every, until + 1, every)}
    assert len(reached) == len({step for step in passed if step <= until})
