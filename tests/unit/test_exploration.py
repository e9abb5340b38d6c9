"""Exploration and its random numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_run
from numpy.typing import NDArray

from headrace_actor import exploration, seeding
from headrace_actor.seeding import Purpose
from headrace_learner.run import specify
from headrace_proto.run_settings import RunSettings

UNIT = st.floats(0, 1)


def final_epsilons(kind: str, seed: int, actor: int, environments: int) -> NDArray[np.float64]:
    run = a_run(exploration=kind, seed=seed, environments_per_actor=environments, final_epsilon=0.02)
    return exploration.final_epsilons(run, actor)


@pytest.mark.parametrize(
    ("env_steps", "expected"),
    [(0, 1.0), (250_000, 0.775), (500_000, 0.55), (1_000_000, 0.1), (1_000_001, 0.1), (10**12, 0.1)],
)
def test_epsilon_falls_linearly_to_its_final_value_and_stays_there(env_steps: int, expected: float) -> None:
    run = a_run(epsilon_decay_steps=1_000_000)
    assert exploration.annealed(run, np.array([0.1]), env_steps) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("env_steps", "expected"),
    [(0, 1.0), (150_000, 0.505), (300_000, 0.01), (900_000, 0.0055), (1_500_000, 0.001), (10**12, 0.001)],
)
def test_epsilon_falls_fast_to_the_middle_one_and_slowly_to_the_final_one(env_steps: int, expected: float) -> None:
    run = a_run(middle_epsilon=0.01, epsilon_decay_steps=300_000, epsilon_tail_steps=1_200_000)
    assert exploration.annealed(run, np.array([0.001]), env_steps) == pytest.approx([expected])


@pytest.mark.parametrize(("final_epsilon", "ends_at"), [(0.01, 0.01), (0.001, 0.001)])
def test_a_run_explores_a_hundredth_of_the_time_at_300_000_steps_and_falls_to_a_lower_end_by_2_700_000(
    final_epsilon: float, ends_at: float
) -> None:
    run = specify(RunSettings(game="Pong", final_epsilon=final_epsilon))
    final = exploration.final_epsilons(run, actor=0)
    found = [set(exploration.annealed(run, final, env_steps)) for env_steps in (300_000, 2_700_000)]
    assert found == [{0.01}, {ends_at}]


def test_a_final_epsilon_above_the_middle_one_is_reached_at_once_and_stays() -> None:
    run = a_run(middle_epsilon=0.01, epsilon_decay_steps=100, epsilon_tail_steps=1000)
    found = [exploration.annealed(run, np.array([0.5]), env_steps)[0] for env_steps in (0, 50, 100, 600, 10_000)]
    assert found == [1.0, 0.75, 0.5, 0.5, 0.5]


def test_epsilon_without_decay_is_final_from_the_start() -> None:
    assert exploration.annealed(a_run(epsilon_decay_steps=0), np.array([0.5, 0.01]), 0).tolist() == [0.5, 0.01]


STEPS = st.integers(0, 10**12)


@given(final=UNIT, middle=UNIT, env_steps=st.integers(0, 10**15), decay=STEPS, tail=STEPS)
def test_d3_epsilon_is_defined_at_every_step_count_and_never_rises(
    final: float, middle: float, env_steps: int, decay: int, tail: int
) -> None:
    run = a_run(middle_epsilon=middle, epsilon_decay_steps=decay, epsilon_tail_steps=tail)
    now, later = (exploration.annealed(run, np.array([final]), step)[0] for step in (env_steps, env_steps + 1))
    assert final - 1e-12 <= later <= now + 1e-12
    assert now <= 1


def test_the_same_final_epsilon_is_every_environments() -> None:
    assert final_epsilons("same", seed=1, actor=3, environments=2).tolist() == [0.02, 0.02]


def test_final_epsilons_in_turn_are_one_for_all_environments_of_an_actor() -> None:
    found = [final_epsilons("round-robin", seed=1, actor=actor, environments=2).tolist() for actor in range(4)]
    assert found == [[0.1, 0.1], [0.01, 0.01], [0.5, 0.5], [0.1, 0.1]]


def test_the_papers_final_epsilons_are_sampled_with_its_probabilities() -> None:
    drawn = np.concatenate([final_epsilons("paper", seed=1, actor=actor, environments=8) for actor in range(500)])
    shares = [float(np.mean(drawn == epsilon)) for epsilon in (0.1, 0.01, 0.5)]
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=0.03)
    assert set(drawn) == {0.1, 0.01, 0.5}


def test_the_papers_final_epsilons_depend_on_seed_actor_and_environment_alone() -> None:
    once = final_epsilons("paper", seed=3, actor=5, environments=64)
    assert (final_epsilons("paper", seed=3, actor=5, environments=64) == once).all()
    assert (final_epsilons("paper", seed=3, actor=5, environments=8) == once[:8]).all()
    assert (final_epsilons("paper", seed=3, actor=6, environments=64) != once).any()
    assert (final_epsilons("paper", seed=4, actor=5, environments=64) != once).any()


def test_the_apex_ladder_goes_from_0_4_to_its_eighth_power() -> None:
    ladder = final_epsilons("ape-x", seed=1, actor=7, environments=8)
    assert ladder == pytest.approx([0.4**power for power in range(1, 9)])


def test_actors_of_one_environment_climb_the_apex_ladder_together() -> None:
    ladder = [final_epsilons("ape-x", seed=1, actor=actor, environments=1)[0] for actor in range(9)]
    assert ladder == pytest.approx([0.4**power for power in (1, 2, 3, 4, 5, 6, 7, 8, 1)])


def test_the_behaviour_probability_is_how_often_an_action_is_chosen() -> None:
    uniforms = np.random.default_rng(0).random((40_000, 2))
    greedy, epsilons = np.full(40_000, 2), np.full(40_000, 0.4)
    actions, probabilities = exploration.epsilon_greedy(greedy, epsilons, uniforms, actions=4)
    for action, expected in enumerate([0.1, 0.1, 0.7, 0.1]):
        assert probabilities[actions == action] == pytest.approx(expected)
        assert np.mean(actions == action) == pytest.approx(expected, abs=0.01)


def test_without_exploration_the_greedy_action_is_certain() -> None:
    greedy = np.array([0, 3, 1])
    actions, probabilities = exploration.epsilon_greedy(greedy, np.zeros(3), np.zeros((3, 2)), actions=4)
    assert actions.tolist() == greedy.tolist()
    assert probabilities.tolist() == [1, 1, 1]
    assert probabilities.dtype == np.float32


@given(
    greedy=st.integers(0, 1),
    epsilon=UNIT,
    explore=UNIT,
    which=st.floats(0, 1, exclude_max=True),
    extra=st.integers(0, 9),
)
def test_chosen_actions_exist_and_were_possible(
    greedy: int, epsilon: float, explore: float, which: float, extra: int
) -> None:
    uniforms = np.array([[min(explore, np.nextafter(1, 0)), which]])
    actions, probabilities = exploration.epsilon_greedy(np.array([greedy]), np.array([epsilon]), uniforms, 2 + extra)
    assert 0 <= actions[0] < 2 + extra
    assert 0 <= probabilities[0] <= 1
    assert probabilities[0] > 0 or epsilon < 1e-30


def test_d5_every_environment_of_every_actor_and_life_has_its_own_random_numbers() -> None:
    keys = list(itertools.product((0, 1, 7), range(8), range(8), range(3)))
    assert len({seeding.game_seed(*key) for key in keys}) == len(keys)
    assert len({seeding.exploration_generator(*key).random() for key in keys}) == len(keys)


@given(key=st.tuples(*[st.integers(0, 2**31 - 1)] * 4))
def test_random_numbers_are_equal_for_the_same_environment_and_differ_by_purpose(
    key: tuple[int, int, int, int],
) -> None:
    assert seeding.game_seed(*key) == seeding.game_seed(*key) < 2**31
    assert seeding.exploration_generator(*key).random() == seeding.exploration_generator(*key).random()
    states = {tuple(seeding.stream(*key, purpose).generate_state(4)) for purpose in Purpose}
    assert len(states) == len(Purpose)
