"""The weights that `evaluate` and `play` act by: a running mean of those that are trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import a_batch, a_checkpoint_state, a_rollout, a_run
from torch import Tensor, nn

from headrace_learner import checkpoint_policy, checkpoints, saving, schedules
from headrace_learner.batches import Batch
from headrace_learner.training import Learner
from headrace_proto.settings import LearnerSettings

RUN = a_run()


def a_learner(**settings: Any) -> Learner:
    settings = {"optimizer": "adam", "minibatches": 1, "batch_size": 8, **settings}
    return Learner(LearnerSettings(game="CartPole-v1", **settings), RUN, torch.device("cpu"))


def batches(count: int) -> list[Batch]:
    return [a_batch(RUN, [a_rollout(RUN, 5, seed), a_rollout(RUN, 3, seed + count)]) for seed in range(count)]


def weights_of(network: nn.Module) -> list[Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def saved(learner: Learner, folder: Path, *without: str) -> checkpoints.Checkpoint:
    tensors = {name: value for name, value in learner.tensors().items() if not name.startswith(without)}
    state = a_checkpoint_state(8, run=RUN, updates=learner.counters.updates)
    return checkpoints.write(folder / "step-8", state, tensors)


def evaluated_of(checkpoint: checkpoints.Checkpoint) -> list[Tensor]:
    return weights_of(checkpoint_policy.read_network(checkpoint))


@given(st.floats(0.0, 0.9999), st.integers(0, 10**7))
def test_a_mean_keeps_no_more_than_it_is_told_and_the_more_the_later(largest: float, updates: int) -> None:
    kept = schedules.share_kept(largest, updates)
    assert 0 <= kept <= largest
    assert kept <= schedules.share_kept(largest, updates + 1)


def test_of_the_first_half_of_a_run_nothing_is_left_in_the_mean() -> None:
    assert math.prod(schedules.share_kept(0.999, update) for update in range(500, 1000)) < 0.003


def test_each_update_moves_the_mean_towards_the_newest_weights() -> None:
    learner = a_learner(evaluation_average=0.15)
    expected = weights_of(learner.online)
    for batch, kept in zip(batches(2), (0.1, 0.15), strict=True):  # 2 / 11 would be more than is told
        learner.train(batch)
        newest = weights_of(learner.online)
        expected = [kept * mean + (1 - kept) * new for mean, new in zip(expected, newest, strict=True)]
        for mean, other in zip(weights_of(learner.evaluated), expected, strict=True):
            torch.testing.assert_close(mean, other)


def test_actors_play_by_the_newest_weights_all_the_same() -> None:
    learner = a_learner()
    assert learner.evaluated is not learner.behaviour
    assert learner.behaviour is learner.online


def test_each_minibatch_moves_it() -> None:
    in_two, in_one = a_learner(minibatches=2, evaluation_average=0.5), a_learner(minibatches=1, evaluation_average=0.5)
    shares: list[float] = []
    for learner in (in_two, in_one):
        for value in learner.evaluated.parameters():
            value.fill_(1e6)
        learner.train(batches(1)[0])
        shares.append(float(next(learner.evaluated.parameters()).mean()) / 1e6)
    assert shares == pytest.approx([0.1 * 2 / 11, 0.1], rel=1e-3)


def test_where_actors_play_by_a_mean_it_is_one_of_what_they_play_by() -> None:
    learner = a_learner(weights_average=0.9, evaluation_average=0.1)
    before = weights_of(learner.evaluated)
    learner.train(batches(1)[0])
    for first, played, mean in zip(before, *map(weights_of, (learner.behaviour, learner.evaluated)), strict=True):
        torch.testing.assert_close(mean, 0.1 * first + 0.9 * played)


def test_the_mean_is_what_a_checkpoint_is_evaluated_by(tmp_path: Path) -> None:
    learner = a_learner()
    learner.train(batches(1)[0])
    assert all(map(torch.equal, evaluated_of(saved(learner, tmp_path)), weights_of(learner.evaluated)))


@pytest.mark.parametrize("weights_average", [0.0, 0.5])
def test_without_a_mean_it_is_what_the_actors_played_by(tmp_path: Path, weights_average: float) -> None:
    learner = a_learner(evaluation_average=0.0, weights_average=weights_average)
    learner.train(batches(1)[0])
    assert all(map(torch.equal, evaluated_of(saved(learner, tmp_path)), weights_of(learner.behaviour)))


def test_the_mean_goes_on_bit_for_bit(tmp_path: Path) -> None:
    first_batch, *others = batches(4)
    straight, stopped, resumed = a_learner(), a_learner(), a_learner(seed=7)
    for learner in (straight, stopped):
        learner.train(first_batch)
    saving.restore(resumed, saved(stopped, tmp_path))
    for batch in others:
        straight.train(batch)
        resumed.train(batch)
    assert all(map(torch.equal, weights_of(resumed.evaluated), weights_of(straight.evaluated)))


def test_a_run_may_go_on_without_it(tmp_path: Path) -> None:
    stopped = a_learner()
    stopped.train(batches(1)[0])
    resumed = a_learner(evaluation_average=0.0, seed=7)
    saving.restore(resumed, saved(stopped, tmp_path))
    assert resumed.evaluated is resumed.online
    assert all(map(torch.equal, weights_of(resumed.online), weights_of(stopped.online)))


@pytest.mark.parametrize("weights_average", [0.0, 0.5])
def test_a_run_that_kept_none_begins_one_with_what_its_actors_play_by(tmp_path: Path, weights_average: float) -> None:
    stopped = a_learner(weights_average=weights_average)
    stopped.train(batches(1)[0])
    resumed = a_learner(weights_average=weights_average, seed=7)
    saving.restore(resumed, saved(stopped, tmp_path, "evaluated/"))
    assert all(map(torch.equal, weights_of(resumed.evaluated), weights_of(stopped.behaviour)))
