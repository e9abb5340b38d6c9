"""Invariant 1: with the learner stopped and 16 actors pushing, no more than `capacity` transitions come to be."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from system.training_run import TrainingRun, account, assert_account_closes
from waiting import wait_until

CAPACITY = 256
ACTORS = 16
ROUND = 2 * 8
"""Transitions that an actor asks for at once: a rollout of 8 from each of 2 environments."""

STOPPED_SECONDS = 20.0
"""The time over which the bound is watched: a subject of the test, not a wait for something else."""

# Weights are published once only: where nobody waits for weights, credit alone holds the actors.
RUN = ("--actors", str(ACTORS), "--environments-per-actor", "2", "--publish-every", "1000000000")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("game", "network"), [("CartPole-v1", "mlp"), ("Breakout", "dqn-2013")])
def test_a_stopped_learner_leaves_at_most_capacity_alive_and_the_actors_count_agrees(
    game: str, network: str, tmp_path: Path
) -> None:
    with TrainingRun(tmp_path, "--game", game, "--network", network, *RUN) as run:
        run.wait_for_steps(200, seconds=300)
        wait_until(lambda: all_play(run), seconds=300)
        run.signal("learner", signal.SIGSTOP)
        deadline = time.monotonic() + STOPPED_SECONDS
        samples = 0
        while time.monotonic() < deadline or samples < 10:
            assert_no_more_exist_while_the_learner_stands_still(run)
            samples += 1

        # It is the bound that stops them: there is no room for one round more, and some wait for it.
        wait_until(lambda: run.value("gate", "gate_granted_transitions") == 0, seconds=120)
        assert run.value("gate", "gate_alive_transitions") > CAPACITY - ROUND
        assert run.value("gate", "gate_waiting_actors") > 0
        assert_the_gates_count_is_the_actors(run)
        assert_account_closes(run)

        trained = run.value("gate", "gate_trained_transitions_total")
        run.signal("learner", signal.SIGCONT)
        wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= trained + 500, seconds=300)
        assert_account_closes(run)
        assert_no_more_exist_than_the_capacity(run)


def all_play(run: TrainingRun) -> bool:
    """Whether every actor has weights and generates."""
    steps = [samples["headrace_actor_env_steps_total", ()] for samples in run.samples("actor")]
    return len(steps) == ACTORS and min(steps) > 0


def generated(run: TrainingRun) -> float:
    """The actors' own count."""
    return run.total("actor", "actor_env_steps_total")


def assert_no_more_exist_while_the_learner_stands_still(run: TrainingRun) -> None:
    # The gate shows its account at the end of a turn, and a turn is long on a loaded machine: its word is waited for.
    # While the learner stands still nothing more is settled, and an excess would stay.
    made = generated(run)
    assert account(run)["alive"] <= CAPACITY
    wait_until(lambda: made - settled(account(run)) <= CAPACITY, seconds=30)


def assert_no_more_exist_than_the_capacity(run: TrainingRun) -> None:
    # The actors first: the gate's later word can then show them no excess that they did not have.
    made = generated(run)
    books = account(run)

    assert books["alive"] <= CAPACITY, books
    assert made - settled(books) <= CAPACITY, (made, books)


def settled(books: dict[str, float]) -> float:
    """Transitions that were and are no more."""
    return books["trained"] + books["rejected"] + books["lost"]


def assert_the_gates_count_is_the_actors(run: TrainingRun) -> None:
    """Where nothing is on its way: all that was generated has arrived, but for what was rejected or lost before."""
    books = account(run)
    assert books["accepted"] <= generated(run) <= books["accepted"] + books["rejected"] + books["lost"], books
