"""The algorithms against values worked out by hand, and against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from finite_differences import assert_gradient_is_that_of
from made_up import a_batch, a_rollout, a_run
from torch import Tensor, nn

from headrace_learner import algorithms, run, transitions
from headrace_learner.algorithms.interface import Evaluation
from headrace_learner.algorithms.one_step_sarsa import OneStepSarsa
from headrace_learner.algorithms.pqn import PQN
from headrace_learner.algorithms.q_learning import QLearning
from headrace_learner.batches import Batch
from headrace_learner.losses import reduced_loss
from headrace_proto.errors import UserError
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import LearnerSettings


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
        behaviour_values=np.array([2, 4, 6], np.float32),
        terminated=terminated,
        truncated=truncated,
    )
    return a_batch(a_run(), [rollout])


def q_learning(**settings: Any) -> QLearning:
    made = algorithms.make(RunSettings(**settings))
    assert isinstance(made, QLearning)
    return made


def targets_of(batch: Batch, **settings: Any) -> list[float]:
    algorithm = q_learning(**{"algorithm": "nstep-q", "discount": 0.5, **settings})
    seen = transitions.of_batch(batch, algorithm.look_ahead(batch))
    targets: list[float] = algorithm.targets(seen, ONLINE, TARGET).tolist()
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
        (evaluation,) = algorithms.make(settings).evaluations(batch, online, TARGET, torch.Generator())
        evaluation.loss.backward()  # type: ignore[no-untyped-call]
        assert online.factor.grad is not None
        results.append((float(evaluation.loss.detach()), float(online.factor.grad)))
    assert results[0] == pytest.approx(results[1])


def test_one_step_q_tells_the_actors_one_step_whatever_n_step_is() -> None:
    specification = run.specify(RunSettings(game="CartPole-v1", algorithm="one-step-q", n_step=5))
    assert (specification.n_step, specification.rollout_length) == (1, 5)


def pqn_targets(batch: Batch, **settings: Any) -> list[float]:
    algorithm = pqn(**settings)
    _, targets = algorithm.begin(batch, Table(), torch.arange(len(batch)))
    found: list[float] = targets.tolist()
    return found


LAST = 4 + 8 / 2
"""G of the last transition of `a_game`: the best value of the state after it is 8, before that 6 and 4."""


@pytest.mark.parametrize("bootstrap", ["behaviour", "newest"])
def test_pqn_targets_by_hand(bootstrap: str) -> None:
    middle = 2 + (6 + LAST) / 4
    assert pqn_targets(a_game(), bootstrap=bootstrap) == [1 + (4 + middle) / 4, middle, LAST]
    assert pqn_targets(a_game(terminated=True), bootstrap=bootstrap)[-1] == 4
    assert pqn_targets(a_game(truncated=True), bootstrap=bootstrap)[-1] == LAST


ACTED = np.array([20, 40, 60], np.float32)
"""Values that an actor found in the states of `a_game`, by weights that valued them ten times as much."""


def test_pqn_bootstraps_within_a_rollout_what_the_actor_found_there_and_at_its_end_the_newest_value() -> None:
    middle = 2 + (60 + LAST) / 4
    assert pqn_targets(replace(a_game(), behaviour_values=ACTED)) == [1 + (40 + middle) / 4, middle, LAST]


@pytest.mark.parametrize(
    "settings", [{"bootstrap": "newest"}, {"traces": "importance"}, {"traces": "retrace"}], ids=str
)
def test_what_asks_for_newest_values_has_them(settings: dict[str, Any]) -> None:
    assert pqn_targets(replace(a_game(), behaviour_values=ACTED), **settings) == pqn_targets(a_game(), **settings)


@pytest.mark.parametrize("lie", [np.inf, 3e38, 1e9])
def test_a_value_that_no_state_can_be_worth_counts_as_the_most_that_one_can(lie: float) -> None:
    lied = replace(a_game(), behaviour_values=np.array([0, lie, -lie], np.float32))
    most = replace(a_game(), behaviour_values=np.array([0, 4, -4], np.float32))  # rewards of 2, a discount of 0.5
    assert pqn_targets(lied, reward_clip=2.0) == pqn_targets(most, reward_clip=2.0) != pqn_targets(a_game())


def test_a_value_that_is_no_number_counts_as_nothing() -> None:
    lied, nothing = (replace(a_game(), behaviour_values=np.array([0, value, 6], np.float32)) for value in (np.nan, 0.0))
    assert pqn_targets(lied) == pqn_targets(nothing)


def test_pqn_keeps_the_values_of_several_rollouts_apart() -> None:
    run_ = a_run(rollout_length=5)
    rollouts = [a_rollout(run_, 4, 1), a_rollout(run_, 2, 2, terminated=True), a_rollout(run_, 1, 3)]
    apart = [target for rollout in rollouts for target in pqn_targets(a_batch(run_, [rollout]))]
    assert pqn_targets(a_batch(run_, rollouts)) == pytest.approx(apart)


def test_retrace_cuts_the_trace_after_an_action_that_was_not_greedy() -> None:
    # Greedy in (3 4) is action 1, which was taken, and in (6 5) action 0, also taken; in (1 2) it matters to nobody.
    assert pqn_targets(a_game(), traces="retrace") == pqn_targets(a_game())
    exploring = replace(a_game(), actions=torch.tensor([0, 0, 0]))
    middle = 2 + (6 + LAST) / 4
    assert pqn_targets(exploring, traces="retrace") == [1 + 4 / 2, middle, LAST]


def test_importance_weights_cut_only_what_the_lag_made_less_likely() -> None:
    # Epsilon 0.25 of two actions: 0.875 for the action that is greedy now, 0.125 for the other one.
    as_now = replace(a_game(), behaviour_probabilities=np.array([0.125, 0.875, 0.875], np.float32))
    assert pqn_targets(as_now, traces="importance") == pqn_targets(a_game())
    likelier_now = replace(as_now, behaviour_probabilities=np.full(3, 0.125, np.float32))
    assert pqn_targets(likelier_now, traces="importance") == pqn_targets(a_game())
    once_greedy = replace(as_now, actions=torch.tensor([0, 0, 0]))
    kept = 0.125 / 0.875 / 2
    middle = 2 + (6 + LAST) / 4
    assert pqn_targets(once_greedy, traces="importance") == pytest.approx(
        [1 + ((1 - kept) * 4 + kept * middle) / 2, middle, LAST]
    )


def test_an_action_that_an_actor_would_never_choose_keeps_its_trace_and_breaks_nothing() -> None:
    never = replace(a_game(), behaviour_probabilities=np.zeros(3, np.float32), epsilons=np.zeros(1, np.float32))
    exploring = replace(never, actions=torch.tensor([0, 0, 0]))
    assert pqn_targets(never, traces="importance") == pqn_targets(a_game())
    assert np.isfinite(pqn_targets(exploring, traces="importance")).all()


@pytest.mark.parametrize("bootstrap", ["behaviour", "newest"])
def test_pqn_lets_no_gradient_through_what_it_bootstraps(bootstrap: str) -> None:
    online = Table()
    batch = a_game()
    algorithm = pqn(minibatches=1, loss="squared", bootstrap=bootstrap)
    (evaluation,) = algorithm.evaluations(batch, online, online, torch.Generator())
    evaluation.loss.backward()  # type: ignore[no-untyped-call]
    taken, targets = [1.0, 4.0, 6.0], pqn_targets(batch)
    errors = [value - target for value, target in zip(taken, targets, strict=True)]
    assert float(evaluation.loss.detach()) == pytest.approx(sum(error**2 for error in errors) / 3)
    assert online.factor.grad is not None
    slope = sum(2 * error * value for error, value in zip(errors, taken, strict=True)) / 3
    assert float(online.factor.grad) == pytest.approx(slope)


def two_games() -> Batch:
    return a_batch(a_run(), [a_rollout(a_run(), 5, seed=seed) for seed in (1, 2)])


@pytest.mark.parametrize("minibatches", [1, 2, 3, 10, 99])
def test_pqns_minibatches_share_out_the_batch(minibatches: int) -> None:
    batch, online = two_games(), Table()
    evaluations = pqn(minibatches=minibatches).evaluations(batch, online, online, torch.Generator())
    trained = [each.minibatch for each in evaluations if each.minibatch is not None]
    assert sorted(np.concatenate(trained)) == list(range(10))
    assert len(trained) == min(minibatches, 10)
    assert max(map(len, trained)) - min(map(len, trained)) <= 1


def test_pqns_minibatches_are_shuffled_by_the_runs_seed() -> None:
    batch, online = two_games(), Table()

    def order(seed: int) -> list[int]:
        random = torch.Generator().manual_seed(seed)
        evaluations = pqn(minibatches=2).evaluations(batch, online, online, random)
        return [row for each in evaluations if each.minibatch is not None for row in each.minibatch.tolist()]

    assert order(1) == order(1) != order(2)


@pytest.mark.parametrize("bootstrap", ["behaviour", "newest"])
def test_pqns_minibatches_have_new_values_and_the_targets_of_before_the_first_step(bootstrap: str) -> None:
    batch, online = two_games(), Table()
    algorithm = pqn(minibatches=2, loss="squared", bootstrap=bootstrap)
    bootstrapped = {"behaviour": algorithm.behaviour_targets, "newest": algorithm.targets}[bootstrap]
    values_before = online(batch.states).detach()
    targets = torch.from_numpy(bootstrapped(batch, values_before[10:] if bootstrap == "behaviour" else values_before))
    for evaluation in algorithm.evaluations(batch, online, online, torch.Generator()):
        rows = torch.as_tensor(evaluation.minibatch)
        values = online(batch.states)[rows].gather(1, batch.actions[rows].unsqueeze(1)).squeeze(1)
        expected = (values - targets[rows]).square().mean()
        assert float(evaluation.loss.detach()) == pytest.approx(float(expected.detach()))
        with torch.no_grad():
            online.factor.add_(1)  # as an optimizer step would


@pytest.mark.parametrize(
    ("bootstrap", "passes"),
    [
        ("behaviour", [5, 2, 5]),  # the first minibatch, the two last states, the second minibatch
        ("newest", [5, 7, 5]),  # the first minibatch, the other states and the two last ones, the second minibatch
    ],
)
def test_how_many_states_pqn_evaluates_for_a_batch_of_two_minibatches(bootstrap: str, passes: list[int]) -> None:
    batch, online = two_games(), Table()
    evaluated: list[int] = []
    online.register_forward_hook(lambda _, states, __: evaluated.append(len(states[0])))
    list(pqn(minibatches=2, bootstrap=bootstrap).evaluations(batch, online, online, torch.Generator()))
    assert evaluated == passes


def pqn(**settings: Any) -> PQN:
    return PQN(RunSettings(**{"discount": 0.5, "trace_decay": 0.5, "reward_clip": 0, **settings}))


def sarsa_targets(batch: Batch) -> list[float]:
    settings = RunSettings(algorithm="one-step-sarsa", discount=0.5)
    targets: list[float] = OneStepSarsa(settings).targets(batch, TARGET).tolist()
    return targets


def test_sarsa_targets_by_hand() -> None:
    # Within the rollout the actions that followed were 1 and 0; after it, epsilon is 0.25 of the two actions.
    assert sarsa_targets(a_game()) == [1 + 40 / 2, 2 + 60 / 2, 4 + (0.75 * 80 + 0.25 * 75) / 2]
    assert sarsa_targets(a_game(terminated=True))[-1] == 4
    assert sarsa_targets(a_game(truncated=True)) == sarsa_targets(a_game())


def test_sarsa_follows_the_actions_of_each_rollout_alone() -> None:
    run_ = a_run(n_step=1)
    rollouts = [a_rollout(run_, 4, 1), a_rollout(run_, 2, 2, terminated=True), a_rollout(run_, 3, 3)]
    apart = [target for rollout in rollouts for target in sarsa_targets(a_batch(run_, [rollout]))]
    assert sarsa_targets(a_batch(run_, rollouts)) == pytest.approx(apart)


def test_what_q_learning_says_of_errors_is_targets_less_values() -> None:
    algorithm = algorithms.make(RunSettings(algorithm="nstep-q", discount=0.5, n_step=3))
    (evaluation,) = algorithm.evaluations(a_game(), ONLINE, TARGET, torch.Generator())
    assert evaluation.errors is not None
    assert evaluation.errors.tolist() == [13 + 1, 24 + 4, 44 + 6]


def test_losses_by_hand() -> None:
    values, targets = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.5, 2.0, -3.0])
    assert float(reduced_loss(values, targets, "squared", "transition", 2)) == pytest.approx((0.25 + 4 + 9) / 3)
    assert float(reduced_loss(values, targets, "squared", "rollout", 2)) == pytest.approx((0.25 + 4 + 9) / 2)
    assert float(reduced_loss(values, targets, "huber", "transition", 2)) == pytest.approx((0.125 + 1.5 + 2.5) / 3)
    assert float(reduced_loss(values, targets, "huber", "rollout", 2)) == pytest.approx((0.125 + 1.5 + 2.5) / 2)
    weights = torch.tensor([1.0, 0.5, 0.0])
    assert float(reduced_loss(values, targets, "squared", "transition", 2, weights)) == pytest.approx((0.25 + 2) / 3)


HUBER_OR_SQUARED = pytest.mark.parametrize("loss", ["huber", "squared"])
REDUCTIONS = pytest.mark.parametrize("reduction", ["transition", "rollout"])


def losses_by_hand(loss: str, errors: list[float]) -> list[float]:
    """Of errors that are all larger than one."""
    assert min(errors) > 1
    return [error - 1 / 2 if loss == "huber" else error**2 for error in errors]


def two_unequal_games() -> Batch:
    """`a_game` with the actions 0, 0, 1, and a last transition in (2 3): action 1, reward 3, and the game is over."""
    actions = np.array([0, 0, 1], np.int32)
    rewards = np.array([1, 2, 4], np.float32)
    acted = np.array([2, 4, 6], np.float32)
    longer = a_rollout(a_run(), 3, frames=FRAMES, actions=actions, rewards=rewards, behaviour_values=acted)
    frames = np.array([[2, 3, 0, 0], [9, 9, 0, 0]], np.float32)
    last: dict[str, Any] = {
        "actions": np.array([1], np.int32),
        "rewards": np.array([3], np.float32),
        "terminated": True,
    }
    return a_batch(a_run(), [longer, a_rollout(a_run(), 1, frames=frames, **last)])


ERRORS: dict[str, list[float]] = {
    "nstep-q": [1 + 1 + 1 + 80 / 8 + 1, 2 + 2 + 80 / 4 + 3, 4 + 80 / 2 + 5, 3 + 3],
    "one-step-q": [1 + 40 / 2 + 1, 2 + 60 / 2 + 3, 4 + 80 / 2 + 5, 3 + 3],
    "one-step-sarsa": [1 + 30 / 2 + 1, 2 + 50 / 2 + 3, 4 + (0.75 * 80 + 0.25 * 75) / 2 + 5, 3 + 3],
}
"""Targets less the online network's values, which are -1, -3, -5 and -3."""


@HUBER_OR_SQUARED
@REDUCTIONS
@pytest.mark.parametrize("algorithm", list(ERRORS))
def test_the_loss_of_a_batch_by_hand(algorithm: str, reduction: str, loss: str) -> None:
    settings = RunSettings(algorithm=algorithm, discount=0.5, n_step=3, loss=loss, loss_reduction=reduction)
    (evaluation,) = algorithms.make(settings).evaluations(two_unequal_games(), ONLINE, TARGET, torch.Generator())
    total = sum(losses_by_hand(loss, ERRORS[algorithm]))
    assert float(evaluation.loss.detach()) == pytest.approx(total / {"transition": 4, "rollout": 2}[reduction])
    assert evaluation.q_values.tolist() == [-1, -3, -5, -3]
    assert evaluation.minibatch is None


@HUBER_OR_SQUARED
@REDUCTIONS
@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_the_loss_of_a_replays_sample_by_hand(algorithm: str, reduction: str, loss: str) -> None:
    made = q_learning(algorithm=algorithm, discount=0.5, n_step=3, loss=loss, loss_reduction=reduction)
    batch = two_unequal_games()
    weights = [1.0, 0.5, 0.0, 0.25]
    seen = replace(transitions.of_batch(batch, made.look_ahead(batch)), weights=torch.tensor(weights))
    evaluation = made.evaluate_transitions(seen, ONLINE, TARGET, rollouts=8)
    losses = losses_by_hand(loss, ERRORS[algorithm])
    total = sum(weight * each for weight, each in zip(weights, losses, strict=True))
    assert float(evaluation.loss.detach()) == pytest.approx(total / {"transition": 4, "rollout": 8}[reduction])
    assert evaluation.errors is not None
    assert evaluation.errors.tolist() == ERRORS[algorithm]  # as they are, for the priorities


@HUBER_OR_SQUARED
@REDUCTIONS
@pytest.mark.parametrize("minibatches", [1, 2, 3])
@pytest.mark.parametrize("bootstrap", ["behaviour", "newest"])
def test_the_losses_of_pqns_minibatches_by_hand(bootstrap: str, minibatches: int, reduction: str, loss: str) -> None:
    # Values are 1, 3, 5 and 3; the largest of the states after them 4, 6 and 8, and nothing comes after the last one.
    last = 4 + 8 / 2
    middle = 2 + (6 + last) / 4
    errors = np.array([1 + (4 + middle) / 4 - 1, middle - 3, last - 5, 3 - 3])
    losses = errors**2 if loss == "squared" else np.where(errors > 1, errors - 1 / 2, errors**2 / 2)
    online, algorithm = Table(), pqn(bootstrap=bootstrap, minibatches=minibatches, loss=loss, loss_reduction=reduction)
    trained: list[int] = []
    for evaluation in algorithm.evaluations(two_unequal_games(), online, online, torch.Generator()):
        rows = evaluation.minibatch
        assert rows is not None
        # Of its two rollouts each minibatch has as large a part as of its transitions.
        divisor = {"transition": len(rows), "rollout": 2 / minibatches}[reduction]
        assert float(evaluation.loss.detach()) == pytest.approx(losses[rows].sum() / divisor)
        trained += rows.tolist()
    assert sorted(trained) == [0, 1, 2, 3]


def networks_in_double_precision() -> tuple[nn.Module, nn.Module]:
    """An online and a target network for frames of four numbers and two actions."""
    torch.manual_seed(3)
    online = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    target = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    return online, target


def a_batch_in_double_precision() -> Batch:
    run_ = a_run(n_step=3)
    rollouts = [a_rollout(run_, 5, 1), a_rollout(run_, 2, 2, terminated=True), a_rollout(run_, 3, 3, truncated=True)]
    batch = a_batch(run_, rollouts)
    return replace(batch, states=batch.states.double())


@HUBER_OR_SQUARED
@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "pqn", "minibatches": 1},
        {"algorithm": "pqn", "minibatches": 3},
        {"algorithm": "pqn", "minibatches": 3, "bootstrap": "newest"},
        {"algorithm": "nstep-q"},
        {"algorithm": "nstep-q", "double_q": True},
        {"algorithm": "one-step-q"},
        {"algorithm": "one-step-q", "double_q": True},
        {"algorithm": "one-step-sarsa"},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_the_gradient_is_that_of_finite_differences_and_none_flows_through_the_target(
    settings: dict[str, Any], loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    online, target = networks_in_double_precision()
    batch = a_batch_in_double_precision()
    made = algorithms.make(RunSettings(**settings, n_step=3, loss=loss))

    def evaluations() -> list[Evaluation]:
        """Of every minibatch, no step between them."""
        return list(made.evaluations(batch, online, target, torch.Generator().manual_seed(1)))

    if isinstance(made, PQN):  # bootstraps from the network that the differences change
        _, targets = made.begin(batch, online, torch.arange(len(batch)))
        for name in ("targets", "behaviour_targets"):
            monkeypatch.setattr(made, name, lambda batch, values: targets.double().numpy())
    for index in range(settings.get("minibatches", 1)):

        def loss_of_the_same(index: int = index) -> float:
            return float(evaluations()[index].loss.detach())

        online.zero_grad()
        evaluations()[index].loss.backward()  # type: ignore[no-untyped-call]
        assert_gradient_is_that_of(loss_of_the_same, online)
    assert all(parameter.grad is None for parameter in target.parameters())


@HUBER_OR_SQUARED
@pytest.mark.parametrize("double_q", [False, True])
@pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
def test_the_gradient_of_a_weighted_sample_is_that_of_finite_differences(
    algorithm: str, loss: str, double_q: bool
) -> None:
    online, target = networks_in_double_precision()
    made = q_learning(algorithm=algorithm, n_step=3, loss=loss, double_q=double_q)
    batch = a_batch_in_double_precision()
    seen = replace(transitions.of_batch(batch, made.look_ahead(batch)), weights=torch.rand(len(batch)))

    def loss_of_the_same() -> float:
        return float(made.evaluate_transitions(seen, online, target, rollouts=len(batch)).loss.detach())

    made.evaluate_transitions(seen, online, target, rollouts=len(batch)).loss.backward()  # type: ignore[no-untyped-call]
    assert_gradient_is_that_of(loss_of_the_same, online)
    assert all(parameter.grad is None for parameter in target.parameters())


def test_defaults_fit_the_game() -> None:
    atari = run.specify(RunSettings(game="breakout"))
    assert (atari.network, atari.frame_stack, atari.frame_skip, atari.layer_norm) == ("dqn-2013", 4, 4, True)
    vectors = run.specify(RunSettings(game="CartPole-v1", algorithm="nstep-q", n_step=3))
    assert (vectors.network, vectors.frame_stack, vectors.frame_skip, vectors.rollout_length) == ("mlp", 1, 1, 3)


def test_the_ancestors_network_has_its_676148_parameters() -> None:
    from headrace_proto import networks

    specification = run.specify(LearnerSettings(preset="ancestor"))
    assert sum(parameter.numel() for parameter in networks.build_for(specification).parameters()) == 676_148


@pytest.mark.parametrize("changes", [{"frame_stack": 4}, {"network": "dqn-2015"}, {"lstm": True}])
def test_what_does_not_fit_a_game_of_vectors_is_a_persons_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="allowed"):
        run.specify(RunSettings(game="CartPole-v1", **changes))
