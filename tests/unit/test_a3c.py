"""a3c against values worked out by hand, and its gradient against finite differences, with and without an LSTM."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from finite_differences import assert_gradient_is_that_of
from made_up import a_batch, a_rollout, a_run
from torch import Tensor, nn

from headrace_learner import run
from headrace_learner.algorithms.a3c import A3C
from headrace_learner.batches import Batch
from headrace_proto import networks
from headrace_proto.errors import UserError
from headrace_proto.networks import PolicyNetwork, Sequences
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import LSTM_UNITS, RunSpecification


class Table(nn.Module):
    """Logits that are the first two numbers of the state, and a value that is the third."""

    def forward(self, states: Tensor, _: Sequences) -> tuple[Tensor, Tensor]:
        flat = states.flatten(1)
        return flat[:, :2], flat[:, 2]


EVEN, THREE_TO_ONE = [0.0, 0.0], [log(3.0), 0.0]


def a_game(*policies: list[float], probability: float = 0.5, **changes: Any) -> Batch:
    """Two transitions, rewards 1 and 2; the states' values are 8 and 4, and 6 in the one to bootstrap from."""
    first, second = policies
    frames = np.array([[*first, 8, 0], [*second, 4, 0], [0, 0, 6, 0]], np.float32)
    fields = {
        "frames": frames,
        "actions": np.array([0, 1], np.int32),
        "rewards": np.array([1, 2], np.float32),
        "behaviour_probabilities": np.full(2, probability, np.float32),
    }
    run = a_run(head="policy")
    return a_batch(run, [a_rollout(run, 2, **{**fields, **changes})])


def a3c(**settings: Any) -> A3C:
    return A3C(RunSettings(**{"algorithm": "a3c", "discount": 0.5, **settings}))


def targets_of(batch: Batch, **settings: Any) -> list[float]:
    algorithm = a3c(**settings)
    logits, values = Table()(batch.states, batch.sequences)
    log_chosen = logits[:2].log_softmax(1)[torch.arange(2), batch.actions]
    weights = algorithm.importance_weights(batch, log_chosen)
    targets: list[float] = algorithm.targets(batch, values, weights).tolist()
    return targets


def test_without_a_correction_the_targets_are_n_step_returns_whatever_the_policy_is_now() -> None:
    for now in (EVEN, THREE_TO_ONE):
        assert targets_of(a_game(now, now), correction="none") == [1 + 1 + 6 / 4, 2 + 6 / 2]
    assert targets_of(a_game(EVEN, EVEN), correction="none", n_step=1) == [1 + 4 / 2, 2 + 6 / 2]


@pytest.mark.parametrize("correction", ["v-trace", "none"])
def test_termination_does_not_bootstrap_and_truncation_does(correction: str) -> None:
    assert targets_of(a_game(EVEN, EVEN, terminated=True), correction=correction) == [1 + 1, 2]
    assert targets_of(a_game(EVEN, EVEN, truncated=True), correction=correction) == [1 + 1 + 6 / 4, 2 + 6 / 2]


def test_v_trace_weighs_an_action_by_how_likely_it_is_now_and_never_more_than_it_was() -> None:
    # Both actions had 1/2. Now the first has 3/4, which counts as 1, and the second 1/4, which counts as 1/2.
    errors = [1 + 4 / 2 - 8, 2 + 6 / 2 - 4]
    expected = [8 + errors[0] + errors[1] / 2 / 2, 4 + errors[1] / 2]
    assert targets_of(a_game(THREE_TO_ONE, THREE_TO_ONE)) == pytest.approx(expected)
    assert targets_of(a_game(EVEN, EVEN)) == targets_of(a_game(EVEN, EVEN), correction="none")


def test_an_action_too_unlikely_for_a_float32_when_it_was_taken_counts_as_one() -> None:
    assert targets_of(a_game(EVEN, EVEN, probability=0.0)) == targets_of(a_game(EVEN, EVEN))


@pytest.mark.parametrize(("reduction", "divisor"), [("transition", 2), ("rollout", 1)])
def test_the_loss_by_hand(reduction: str, divisor: int) -> None:
    settings = {"entropy_coefficient": 0.25, "value_coefficient": 0.125, "loss_reduction": reduction}
    evaluation = a3c(correction="none", **settings).evaluate(a_game(EVEN, THREE_TO_ONE), Table(), Table())
    advantages = [1 + 1 + 6 / 4 - 8, 2 + 6 / 2 - 4]
    policy_loss = -(advantages[0] * log(1 / 2) + advantages[1] * log(1 / 4)) / divisor
    value_loss = (advantages[0] ** 2 + advantages[1] ** 2) / divisor
    entropies = log(2), -3 / 4 * log(3 / 4) - 1 / 4 * log(1 / 4)
    expected = policy_loss - 0.25 * sum(entropies) / divisor + 0.125 * value_loss
    assert float(evaluation.loss) == pytest.approx(expected)
    assert evaluation.logged == pytest.approx(
        {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": sum(entropies) / 2,
            "importance_weight": 1.0,
        }
    )
    assert evaluation.q_values.tolist() == [8, 4]


def test_the_mean_importance_weight_shows_what_the_lag_changed() -> None:
    evaluation = a3c().evaluate(a_game(THREE_TO_ONE, THREE_TO_ONE), Table(), Table())
    assert evaluation.logged["importance_weight"] == pytest.approx((1 + 1 / 2) / 2)


def a_network(run_: RunSpecification) -> PolicyNetwork:
    """In double precision, with parameters that make the policy uneven."""
    torch.manual_seed(5)
    network = networks.build_for(run_).double()
    assert isinstance(network, PolicyNetwork)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def a_batch_of_three(run_: RunSpecification) -> Batch:
    """Rollouts of unequal lengths and ends, in double precision, from recurrent states if the run has them."""
    random = np.random.default_rng(7)

    def state() -> Any:
        return random.normal(size=(2, LSTM_UNITS)).astype(np.float32) if run_.lstm else None

    rollouts = [
        a_rollout(run_, 5, 1, recurrent_state=state()),
        a_rollout(run_, 2, 2, recurrent_state=state(), terminated=True),
        a_rollout(run_, 3, 3, recurrent_state=state(), truncated=True),
    ]
    batch = a_batch(run_, rollouts)
    recurrent_states = None if batch.recurrent_states is None else batch.recurrent_states.double()
    return replace(batch, states=batch.states.double(), recurrent_states=recurrent_states)


@pytest.mark.parametrize("lstm", [False, True])
@pytest.mark.parametrize("correction", ["v-trace", "none"])
def test_the_gradient_is_that_of_finite_differences_with_targets_and_weights_held_fast(
    correction: str, lstm: bool
) -> None:
    run_ = a_run(head="policy", lstm=lstm)
    batch, network = a_batch_of_three(run_), a_network(run_)
    algorithm = a3c(correction=correction, n_step=3, entropy_coefficient=0.1)
    count = len(batch)

    def policy_and_values() -> tuple[Tensor, Tensor, Tensor]:
        logits, values = network(batch.states, batch.sequences)
        log_policy = logits[:count].log_softmax(1)
        return log_policy, log_policy[torch.arange(count), batch.actions], values

    _, log_chosen, all_values = policy_and_values()
    weights = algorithm.importance_weights(batch, log_chosen)
    targets = torch.from_numpy(algorithm.targets(batch, all_values, weights))
    advantages = targets - all_values[:count].detach()

    def objective() -> float:
        """Of Algorithm S3, a number that the parameters move through pi and V alone."""
        with torch.no_grad():
            log_policy, log_taken, values = policy_and_values()
            entropies = -(log_policy.exp() * log_policy).sum(1)
            losses = -log_taken * advantages - 0.1 * entropies + 0.5 * (targets - values[:count]).square()
        return float(losses.mean())

    algorithm.evaluate(batch, network, network).loss.backward()  # type: ignore[no-untyped-call]
    assert_gradient_is_that_of(objective, network)


def test_each_rollout_is_unrolled_from_its_own_state_whatever_lies_beside_it() -> None:
    run_ = a_run(head="policy", lstm=True)
    batch, network = a_batch_of_three(run_), a_network(run_)
    logits, values = network(batch.states, batch.sequences)
    start = 0
    assert batch.recurrent_states is not None
    for index, length in enumerate(batch.lengths.tolist()):
        rows = [*range(start, start + length), len(batch) + index]
        state: Tensor | None = batch.recurrent_states[index : index + 1]
        for row in rows:
            alone, state = network.step(batch.states[row : row + 1], state)
            torch.testing.assert_close(alone[0], logits[row])
        start += length
    assert values.shape == (len(batch) + 3,)


def test_the_specification_says_that_actors_sample_and_what_they_remember() -> None:
    for lstm in (False, True):
        made = run.specify(RunSettings(game="CartPole-v1", algorithm="a3c", lstm=lstm))
        assert (made.head, made.lstm) == ("policy", lstm)


def test_an_lstm_with_an_algorithm_of_values_is_a_persons_mistake() -> None:
    with pytest.raises(UserError, match="--lstm: pqn learns values without a memory; allowed with it: a3c"):
        run.specify(RunSettings(game="CartPole-v1", lstm=True))


def test_a_replay_with_a3c_is_a_persons_mistake() -> None:
    with pytest.raises(UserError, match="--replay"):
        run.specify(RunSettings(game="CartPole-v1", algorithm="a3c", replay="uniform"))


def test_a_policy_begins_nearly_even_so_that_it_explores() -> None:
    run_ = a_run(head="policy", actions=4)
    network = networks.build_for(run_)
    batch = a_batch(run_, [a_rollout(run_, 5)])
    with torch.no_grad():
        logits, _ = network(batch.states, batch.sequences)
    assert float((logits.softmax(1) - 1 / 4).abs().max()) < 0.02
