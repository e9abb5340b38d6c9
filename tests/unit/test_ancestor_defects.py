"""The ancestor's defects D1 to D19, each with the rule that answers it, alone.

docs/ancestor.md names the tests that hold these rules in the services themselves.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up import GATE, LEARNER, a_run

from headrace_actor import exploration, seeding
from headrace_actor.rollout_builder import Choice, Outcome, RolloutBuilder
from headrace_gate.rollout_queue import QueuedRollout, RolloutQueue
from headrace_learner import checkpoint_policy, checkpoints, losses, optimizers, policy_lag, schedules, targets
from headrace_learner.training import Counters, Learner
from headrace_local import ancestor_flags
from headrace_local.restarts import Abort, Restart, RestartPolicy
from headrace_proto import environments
from headrace_proto.arguments import parse
from headrace_proto.errors import UserError
from headrace_proto.messages import BatchHeader
from headrace_proto.networks import ValueNetwork, make_trunk
from headrace_proto.rollouts import Rollout
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import ActorSettings, EvaluateSettings, SocketSettings, TrainSettings

ROOT = Path(__file__).parents[2]
ANCESTOR_LAG_UPDATES = 533
"""Worst age of a policy with the ancestor's defaults and 16 actors, in updates: see D1."""


@pytest.mark.parametrize("page", ["ancestor.md", "guarantees.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(?:tests/)?((?:unit|wire|service|system)/test_\w+\.py)`", (ROOT / "docs" / page).read_text())

    assert named
    assert [name for name in named if not (ROOT / "tests" / name).exists()] == []


def settings(*arguments: str) -> TrainSettings:
    return parse(TrainSettings, arguments, "headrace train")


def played(run_length: int, count: int, action: int = 0, rollout_length: int = 5) -> list[Rollout]:
    """The rollouts of one environment that plays the same action `count` times."""
    builder = RolloutBuilder(0, a_run(rollout_length=rollout_length, actions=4))
    builder.begin_game(None)
    state = np.zeros((1, 4), np.float32)
    made = [
        builder.add(state, Choice(action, 0.5, 1.5), Outcome(1.0, step + 1 == run_length, False, None), state)
        for step in range(count)
    ]
    return [rollout for rollout in made if rollout is not None]


def test_d01_the_formula_of_the_lag_bound_gives_far_less_than_the_ancestors_lag() -> None:
    greeting = BatchHeader(
        gate=GATE,
        learner=LEARNER,
        generation=1,
        batch=0,
        rollouts=0,
        count=0,
        version=0,
        capacity=256,
        straggler_updates=32,
    )

    assert policy_lag.bound(settings("--preset", "ancestor"), greeting) == 5 + 32 + 13 - 2 < ANCESTOR_LAG_UPDATES / 10
    assert policy_lag.bound(settings(), greeting) == 2 * (2 + 32 + 2 - 1) - 1


def test_d02_behaviour_policy_and_target_network_are_apart() -> None:
    ancestor = settings("--preset", "ancestor")
    learner = Learner(ancestor, a_run(), torch.device("cpu"))

    with torch.no_grad():
        next(iter(learner.online.parameters())).add_(1.0)

    assert (ancestor.publish_every, ancestor.target_update_every) == (100, 10_000)
    assert not torch.equal(*(next(iter(network.parameters())) for network in (learner.online, learner.target)))


@pytest.mark.parametrize("env_steps", [4_000_000, 4_250_000, 80_000_000, 10**12])
def test_d03_schedules_are_defined_past_their_end(env_steps: int) -> None:
    final = np.array([0.1, 0.01, 0.5])

    run = a_run(epsilon_decay_steps=4_000_000)
    np.testing.assert_array_equal(exploration.annealed(run, final, env_steps), final)
    assert schedules.learning_rate(1e-4, 80_000_000, env_steps) >= 0
    assert schedules.learning_rate(1e-4, 80_000_000, 10**12) == 0


def test_d04_the_rule_is_to_restart_what_died_and_to_end_the_run_for_a_persons_mistake() -> None:
    assert isinstance(RestartPolicy("actor").after_exit(1, started_at=0, now=1), Restart)
    assert isinstance(RestartPolicy("learner").after_exit(-9, started_at=0, now=1), Restart)
    assert RestartPolicy("actor").after_exit(2, started_at=0, now=1) == Abort(2)


def test_d05_no_two_environments_actors_or_lives_share_random_numbers() -> None:
    keys = [(actor, environment, life) for actor in range(16) for environment in range(8) for life in range(2)]

    seeds = {seeding.game_seed(1, *key) for key in keys}
    draws = {seeding.exploration_generator(1, *key).random() for key in keys}

    assert len(seeds) == len(draws) == len(keys)


@pytest.mark.parametrize(("flag", "expected"), [("--double-q", True), ("--no-double-q", False)])
def test_d06_boolean_flags_can_be_turned_off(flag: str, expected: bool) -> None:
    assert settings(flag).double_q is expected
    assert ancestor_flags.translate("train", ["--th_comp_fix=False"]).arguments == []


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "rmsprop-keras"])
def test_d07_the_learning_rate_of_every_optimizer_can_be_set(optimizer: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    made = optimizers.make(settings("--optimizer", optimizer), [parameter])
    parameter.grad = torch.ones(1)

    optimizers.set_learning_rate(made, 0.0)
    made.step()

    assert parameter.item() == 0


def test_d08_the_first_publication_comes_when_its_steps_are_reached_and_the_second_as_much_later() -> None:
    due = [step for step in range(20, 30_001, 20) if schedules.passes_multiple(step - 20, step, 10_000)]

    assert due == [10_000, 20_000, 30_000]


def test_d09_when_to_save_depends_on_the_step_and_not_on_where_a_run_was_resumed() -> None:
    def due(resumed_at: int) -> list[int]:
        steps = range(resumed_at + 64, 1_800_000, 64)
        return [step for step in steps if schedules.passes_multiple(step - 64, step, 250_000)]

    assert [step // 1000 for step in due(1_280_000)] == [1_500, 1_750]
    assert due(1_280_000) == due(0)[-2:]


def test_d10_holding_an_action_cuts_no_game_and_drops_no_transition() -> None:
    rollouts = played(run_length=150, count=150)

    assert sum(len(rollout) for rollout in rollouts) == 150
    assert not any(rollout.truncated for rollout in rollouts)
    assert [rollout.terminated for rollout in rollouts] == [False] * 29 + [True]


def test_d11_truncation_bootstraps_and_termination_does_not() -> None:
    rewards, lengths = np.ones(3, np.float32), np.array([3])

    truncated = targets.n_step_targets(rewards, lengths, np.array([False]), n=5, gamma=0.5)
    terminated = targets.n_step_targets(rewards, lengths, np.array([True]), n=5, gamma=0.5)

    np.testing.assert_array_equal(truncated.discounts, [0.125, 0.25, 0.5])
    np.testing.assert_array_equal(terminated.discounts, [0, 0, 0])


def test_d12_there_is_no_mean_return_before_a_game_ends_and_only_whole_games_count() -> None:
    assert Counters().return_mean is None
    assert [rollout.episode_return for rollout in played(run_length=7, count=7)] == [None, 7.0]


def test_d13_a_checkpoint_knows_its_game_and_actions() -> None:
    four, six = a_run(actions=4, game="ALE/Breakout-v5"), a_run(actions=6, game="ALE/Pong-v5")
    saved: dict[str, Any] = {"run": four, "action_names": ["NOOP", "FIRE", "RIGHT", "LEFT"], "env_steps": 7}
    state = checkpoints.CheckpointState.model_construct(**saved)

    with pytest.raises(UserError, match=r"has game ALE/Breakout-v5, this run has ALE/Pong-v5"):
        checkpoints.require_same_game(state, six, ["NOOP"] * 6)
    with pytest.raises(UserError, match=r"has actions NOOP, FIRE, RIGHT, LEFT, this run has NOOP, FIRE"):
        checkpoints.require_same_game(state, four, ["NOOP", "FIRE"])


def test_d14_a_transition_is_a_tenth_of_the_ancestors_bytes() -> None:
    frames = np.zeros((9, 84, 84), np.uint8)
    rollout = Rollout(
        frames=frames,
        actions=np.zeros(5, np.int32),
        rewards=np.zeros(5, np.float32),
        behaviour_probabilities=np.ones(5, np.float32),
        behaviour_values=np.ones(5, np.float32),
        recurrent_state=None,
        terminated=False,
        truncated=False,
        n_step=5,
        environment=0,
        epsilon=0.1,
        episode_return=None,
        episode_length=None,
    )

    assert len(rollout.encode()) / 5 < 169_569 / 10


def test_d15_a_batch_is_made_of_many_rollouts_of_all_actors_in_turn() -> None:
    queue = RolloutQueue(capacity=256)
    for index in range(24):
        queue.append(QueuedRollout(5, str(index % 4).encode(), b"", 0.0))

    batch = queue.take_batch(64)

    assert batch is not None
    assert len(batch) == 13
    assert {rollout.header for rollout in batch} == {b"0", b"1", b"2", b"3"}


def test_d16_the_loss_does_not_shrink_with_the_number_of_actions_and_hubers_clips_errors() -> None:
    q_values = torch.tensor([10.0, 0.0], requires_grad=True)

    loss = losses.reduced_loss(q_values, torch.zeros(2), "huber", "transition", rollouts=1)
    loss.backward()  # type: ignore[no-untyped-call]

    assert q_values.grad is not None
    assert q_values.grad.tolist() == [0.5, 0.0]
    paper = settings("--preset", "paper")
    assert (paper.optimizer, paper.rmsprop_alpha, paper.optimizer_epsilon) == ("rmsprop", 0.99, 0.1)


def test_d17_todays_games_run_without_a_warning() -> None:
    run = a_run(game="Breakout", frame_shape=[84, 84], frame_stack=3, frame_dtype="|u1", actions=4, frame_skip=3)

    vector = environments.make_vector(run, 2)
    observations, _ = vector.reset(seed=np.array([1, 2]))  # type: ignore[arg-type]
    answer = vector.step(np.zeros(2, np.int64))
    vector.close()

    assert observations.shape == (2, 3, 84, 84)
    assert len(answer) == 5
    network = ValueNetwork(make_trunk("dqn-2013", (3, 84, 84), layer_norm=False), 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == 676_148


def test_d18_an_actor_is_told_the_gates_address_and_nothing_else() -> None:
    own = set(ActorSettings.model_fields) - set(SocketSettings.model_fields)
    when_it_ends = {"stay_up", "stopped_exit_status"}

    assert own == {"gate_address", "metrics_port"} | when_it_ends


def test_d19_versions_are_locked_runs_are_seeded_and_scores_have_a_protocol() -> None:
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lock if line and not line.startswith(("#", " ", "--"))]

    assert "torch==2.13.0" in pins
    assert all(re.match(r"[A-Za-z0-9_.-]+(\[[a-z,]+\])?==[^*]+$", pin) for pin in pins), pins
    assert "seed" in RunSettings.model_fields
    protocol = EvaluateSettings()
    assert (protocol.episodes, checkpoint_policy.epsilon_for(a_run(), protocol.epsilon)) == (30, 0.05)
