"""Priorities, their sums, and the places that are found by them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_learner.sum_tree import SumTree

priorities = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=70)


def a_tree(values: list[float]) -> SumTree:
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values))
    return tree


def test_places_are_found_by_their_share_of_the_sum() -> None:
    tree = a_tree([3.0, 0.0, 1.0])
    assert tree.total == 4.0
    assert tree.find(np.array([0.0, 2.9, 3.0, 3.9])).tolist() == [0, 0, 2, 2]


def test_a_priority_that_is_set_again_replaces_the_first() -> None:
    tree = a_tree([3.0, 0.0, 1.0])
    tree.set(np.array([0, 1]), np.array([0.0, 2.0]))
    assert (tree.total, tree.priorities(np.arange(3)).tolist()) == (3.0, [0.0, 2.0, 1.0])
    assert tree.find(np.array([0.0, 1.9, 2.0])).tolist() == [1, 1, 2]


def test_of_a_place_that_is_named_twice_the_last_priority_holds() -> None:
    tree = a_tree([1.0, 1.0])
    tree.set(np.array([1, 1]), np.array([5.0, 2.0]))
    assert (tree.total, tree.priorities(np.array([1])).tolist()) == (3.0, [2.0])


@settings(deadline=None)
@given(priorities, st.data())
def test_the_total_is_the_sum_whatever_was_set_before(values: list[float], data: st.DataObject) -> None:
    tree = a_tree(values)
    place = data.draw(st.integers(0, len(values) - 1))
    values[place] = data.draw(st.floats(0, 1e6))
    tree.set(np.array([place]), values[place])
    assert np.isclose(tree.total, sum(values))


@settings(deadline=None)
@given(priorities.filter(any), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_a_place_is_found_where_the_sums_pass_it_and_never_without_a_priority(
    values: list[float], shares: list[float]
) -> None:
    tree = a_tree(values)
    sums = np.array(shares) * tree.total
    found = tree.find(sums)
    assert (tree.priorities(found) > 0).all()
    after = np.cumsum(values)
    tolerance = 1e-9 * tree.total
    assert (sums <= after[found] + tolerance).all()
    assert (sums >= after[found] - np.array(values)[found] - tolerance).all()
