"""The algorithms against values worked out by hand, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_up import a_batch, a_rollout, a_run
from torch import Tensor, nn

from headrace_learner import algorithms, run
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced_loss
from headrace_proto.errors import UserError
from headrace_proto.settings import LearnerSettings, RunSettings


class Table(nn.Module):
    """Values that are the first two numbers of the state, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, states: Tensor) -> Tensor:
        return states.flatten(1)[:, :2] * self.factor


ONLINE, TARGET = Table(-1.0), Table(10.0)
FRAMES = np.array([[1, 2, 0, 0], [3, 4, 0, 0], [6, 5, 0, 0], [7, 8, 0, 0]], np.float32)


def a_game(*, terminated: bool = False, truncated: bool = False) -> Batch:
    """Three transitions: states (1 2), (3 4), (6 5), and (7 8) to bootstrap from."""
    rollout = a_rollout(
        a_run(),
        3,
        frames=FRAMES,
        actions=np.array([0, 1, 0], np.int32),
        rewards=np.array([1, 2, 4], np.float32),
        terminated=terminated,
        truncated=truncated,
    )
    return a_batch(a_run(), [rollout])


def targets_of(batch: Batch, **settings: Any) -> list[float]:
    algorithm: Any = algorithms.make(RunSettings(**{"discount": 0.5, **settings}))
    targets: list[float] = algorithm.targets(batch, ONLINE, TARGET).tolist()
    return targets


def test_one_step_targets_by_hand() -> None:
    assert targets_of(a_game(), algorithm="one-step-q") == [1 + 20, 2 + 30, 4 + 40]


def test_n_step_targets_by_hand() -> None:
    assert targets_of(a_game(), n_step=3) == [1 + 1 + 1 + 80 / 8, 2 + 2 + 80 / 4, 4 + 80 / 2]
    assert targets_of(a_game(), n_step=2) == [1 + 1 + 60 / 4, 2 + 2 + 80 / 4, 4 + 80 / 2]


@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_termination_does_not_bootstrap(algorithm: str) -> None:
    assert targets_of(a_game(terminated=True), algorithm=algorithm, n_step=5)[-1] == 4


@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_truncation_bootstraps_d11(algorithm: str) -> None:
    assert targets_of(a_game(truncated=True), algorithm=algorithm, n_step=5)[-1] == 4 + 40


@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_double_q_values_the_action_that_the_online_network_prefers(algorithm: str) -> None:
    # The online network's values are negative: it prefers the smaller one.
    assert targets_of(a_game(), algorithm=algorithm, n_step=1, double_q=True) == [1 + 15, 2 + 25, 4 + 35]


@pytest.mark.parametrize("double_q", [False, True])
@pytest.mark.parametrize("reduction", ["transition", "rollout"])
def test_n_step_with_n_1_is_one_step_q(double_q: bool, reduction: str) -> None:
    run_ = a_run(n_step=1)
    batch = a_batch(
        run_, [a_rollout(run_, 5, 1), a_rollout(run_, 3, 2, terminated=True), a_rollout(run_, 1, 3, truncated=True)]
    )
    results = []
    for algorithm in ("nstep-q", "one-step-q"):
        settings = RunSettings(algorithm=algorithm, n_step=1, double_q=double_q, loss_reduction=reduction)
        online = Table(-0.5)
        evaluation = algorithms.make(settings).evaluate(batch, online, TARGET)
        evaluation.loss.backward()  # type: ignore[no-untyped-call]
        assert online.factor.grad is not None
        results.append((float(evaluation.loss.detach()), float(online.factor.grad)))
    assert results[0] == pytest.approx(results[1])


def test_one_step_q_tells_the_actors_one_step_whatever_n_step_is() -> None:
    specification = run.specify(RunSettings(game="CartPole-v1", algorithm="one-step-q", n_step=5))
    assert (specification.n_step, specification.rollout_length) == (1, 5)


def test_losses_by_hand() -> None:
    values, targets = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.5, 2.0, -3.0])
    assert float(reduced_loss(values, targets, "squared", "transition", 2)) == pytest.approx((0.25 + 4 + 9) / 3)
    assert float(reduced_loss(values, targets, "squared", "rollout", 2)) == pytest.approx((0.25 + 4 + 9) / 2)
    assert float(reduced_loss(values, targets, "huber", "transition", 2)) == pytest.approx((0.125 + 1.5 + 2.5) / 3)
    assert float(reduced_loss(values, targets, "huber", "rollout", 2)) == pytest.approx((0.125 + 1.5 + 2.5) / 2)


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_the_gradient_is_that_of_finite_differences_and_none_flows_through_the_target(
    algorithm: str, loss: str
) -> None:
    torch.manual_seed(3)
    run_ = a_run(n_step=3)
    batch = a_batch(run_, [a_rollout(run_, 5, 1), a_rollout(run_, 2, 2, terminated=True)])
    batch = batch.to(torch.device("cpu"))
    online = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    target = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    made = algorithms.make(RunSettings(algorithm=algorithm, n_step=3, loss=loss))

    def loss_at() -> float:
        return float(made.evaluate(batch, online, target).loss.detach())

    made.evaluate(batch, online, target).loss.backward()  # type: ignore[no-untyped-call]
    step = 1e-2
    for parameter in online.parameters():
        assert parameter.grad is not None
        flat = parameter.data.view(-1)
        for index in range(len(flat)):
            flat[index] += step
            above = loss_at()
            flat[index] -= 2 * step
            below = loss_at()
            flat[index] += step
            slope = float(parameter.grad.view(-1)[index])
            assert slope == pytest.approx((above - below) / (2 * step), rel=0.05, abs=2e-3)
    assert all(parameter.grad is None for parameter in target.parameters())


def test_defaults_fit_the_game() -> None:
    atari = run.specify(RunSettings(game="breakout"))
    assert (atari.network, atari.frame_stack, atari.frame_skip, atari.rollout_length) == ("dqn-2015", 4, 4, 5)
    vectors = run.specify(RunSettings(game="CartPole-v1", n_step=3))
    assert (vectors.network, vectors.frame_stack, vectors.frame_skip, vectors.rollout_length) == ("mlp", 1, 1, 3)


def test_the_ancestors_network_has_its_676148_parameters() -> None:
    from headrace_proto import networks

    specification = run.specify(LearnerSettings(preset="ancestor"))
    assert sum(parameter.numel() for parameter in networks.build_for(specification).parameters()) == 676_148


@pytest.mark.parametrize("changes", [{"frame_stack": 4}, {"network": "dqn-2015"}])
def test_what_does_not_fit_a_game_of_vectors_is_a_persons_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="allowed here"):
        run.specify(RunSettings(game="CartPole-v1", **changes))
