"""Invariants 3 and 5: any one process may be killed; the run goes on by itself and the account closes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from system.training_run import TrainingRun, account, assert_account_closes
from waiting import wait_until

CARTPOLE = ("--game", "CartPole-v1", "--actors", "3", "--lease-seconds", "10", "--save-every", "5000")


def go_on(run: TrainingRun, transitions: float) -> None:
    """Until so many more transitions are trained."""
    wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= 0)
    target = run.value("gate", "gate_trained_transitions_total") + transitions
    wait_until(lambda: run.value("gate", "gate_trained_transitions_total") >= target, seconds=180)


def generated(run: TrainingRun) -> float:
    """The living actors' own count."""
    return run.total("actor", "actor_env_steps_total")


def losses(run: TrainingRun) -> dict[str, float]:
    """Transitions lost, by cause."""
    causes = ("actor_gone", "transport", "gate_restart")
    return {cause: run.value("gate", "gate_lost_transitions_total", cause=cause) for cause in causes}


@pytest.mark.timeout(600)
def test_actor_learner_and_gate_are_killed_in_turn_and_training_goes_on(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(1_000)
        wait_until(lambda: run.value("gate", "gate_actors") == 3)

        run.signal("actor-1", signal.SIGKILL)
        wait_until(lambda: run.value("gate", "gate_actors") in {2, 4})
        wait_until(lambda: run.value("gate", "gate_actors") == 3)
        go_on(run, 500)
        assert_account_closes(run)

        run.signal("learner", signal.SIGKILL)
        wait_until(lambda: run.value("gate", "gate_learner_restarts_total") == 1, seconds=180)
        go_on(run, 500)
        assert_account_closes(run)
        assert run.value("learner", "learner_policy_lag_max_updates") <= run.value(
            "learner", "learner_policy_lag_bound_updates"
        )

        before = account(run)
        run.signal("gate", signal.SIGKILL)
        wait_until(lambda: run.events("restarted")[-1]["process"] == "gate")
        wait_until(lambda: run.value("gate", "gate_trained_transitions_total") > before["trained"] + 500, seconds=180)
        assert_account_closes(run)
        assert account(run)["promised"] > before["promised"]
        assert run.value("gate", "gate_actors") == 3

        # The actors' own word, the dead one's left out. Theirs first: what they made was promised before they made it.
        # A busy gate shows its account some twenty times a second only, so its word is waited for.
        made = generated(run)
        assert made > 500
        wait_until(lambda: (books := account(run))["promised"] - books["returned"] >= made, seconds=5)

        run.interrupt()
        assert run.wait() == 0


@pytest.mark.timeout(300)
def test_across_a_restart_of_the_gate_it_counts_as_trained_what_the_learner_trained(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(1_000)
        run.signal("gate", signal.SIGKILL)
        go_on(run, 2_000)
        for actor in ("actor-0", "actor-1", "actor-2"):
            run.signal(actor, signal.SIGSTOP)

        wait_until(
            lambda: (
                run.value("gate", "gate_trained_transitions_total") == run.value("learner", "learner_transitions_total")
                and run.value("gate", "gate_untrained_transitions") == 0
            )
        )
        assert_account_closes(run)


@pytest.mark.timeout(400)
def test_across_a_restart_of_the_gate_what_the_actors_made_has_arrived_but_for_what_is_counted(tmp_path: Path) -> None:
    # Weights are published once only: where nobody waits for weights, a stopped learner leaves no credit unplayed.
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000", "--publish-every", "1000000000") as run:
        run.wait_for_steps(1_000)
        before = account(run)
        run.signal("gate", signal.SIGKILL)
        go_on(run, 2_000)
        run.signal("learner", signal.SIGSTOP)
        wait_until(lambda: run.value("gate", "gate_granted_transitions") == 0)

        # All three actors live, so their count is whole. Each transition of theirs was accepted, by the gate that was
        # killed or by its successor, unless its credit was overtaken or it vanished on its way into the dead gate.
        # What a gate accepted and then took down with it (gate_restart) is among the accepted.
        assert len(run.samples("actor")) == 3
        books, lost = account(run), losses(run)
        missing = generated(run) - books["accepted"]
        assert books["accepted"] > before["accepted"] + 2_000
        assert 0 <= missing <= books["rejected"] + lost["transport"] + lost["actor_gone"], (missing, books, lost)
        assert_account_closes(run)


@pytest.mark.timeout(300)
def test_a_frozen_actor_does_not_hold_the_others_up_and_is_heard_again(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *CARTPOLE, "--steps", "100000000") as run:
        run.wait_for_steps(500)
        wait_until(lambda: run.value("gate", "gate_actors") == 3)

        run.signal("actor-0", signal.SIGSTOP)
        wait_until(lambda: run.value("gate", "gate_actors") == 2)
        go_on(run, 1_000)
        run.signal("actor-0", signal.SIGCONT)

        wait_until(lambda: run.value("gate", "gate_actors") == 3)
        go_on(run, 500)
        assert_account_closes(run)
