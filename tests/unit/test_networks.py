"""The networks: what they normalise, and the shapes that they take and give."""

from __future__ import annotations

import pytest
import torch
from made_up import a_run
from torch import nn

from headrace_proto import networks
from headrace_proto.errors import UserError
from headrace_proto.networks import ImageNorm, PolicyNetwork, RecurrentPolicyNetwork
from headrace_proto.specification import LSTM_UNITS, NetworkName
from headrace_proto.weights import Weights, decode


def test_an_image_is_normalised_over_channels_rows_and_columns() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    ours, theirs = ImageNorm(3, 4, 5), nn.LayerNorm([3, 4, 5])
    with torch.no_grad():
        theirs.weight.normal_()
        theirs.bias.normal_()
        ours.weight.copy_(theirs.weight.permute(1, 2, 0))
        ours.bias.copy_(theirs.bias.permute(1, 2, 0))
    torch.testing.assert_close(ours(images), theirs(images))
    assert ours(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("network", ["dqn-2013", "dqn-2015", "mlp"])
def test_a_network_gives_a_value_for_each_action(network: NetworkName, layer_norm: bool) -> None:
    run = a_run(
        network=network, layer_norm=layer_norm, frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4, actions=6
    )
    values = networks.build_for(run)(torch.zeros(2, 4, 84, 84, dtype=torch.uint8))
    assert values.shape == (2, 6)
    assert values.dtype == torch.float32


def test_layer_normalisation_makes_the_features_blind_to_the_scale_of_a_layer() -> None:
    run = a_run(network="dqn-2013", layer_norm=True, frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4)
    network = networks.build_for(run)
    states = torch.randint(0, 255, (2, 4, 84, 84), dtype=torch.uint8)
    before = network(states)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() == 4:
                parameter.mul_(3.0)
                network.get_parameter(name.replace("weight", "bias")).mul_(3.0)
    torch.testing.assert_close(network(states), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("lstm", [False, True])
@pytest.mark.parametrize("network", ["dqn-2013", "dqn-2015", "mlp"])
def test_a_policy_network_steps_one_state_of_each_environment_and_keeps_what_it_remembers(
    network: NetworkName, lstm: bool
) -> None:
    run = a_run(
        network=network, head="policy", lstm=lstm, frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4, actions=6
    )
    built = networks.build_for(run)
    assert isinstance(built, PolicyNetwork)
    states = torch.randint(0, 255, (3, 4, 84, 84), dtype=torch.uint8)
    before = built.initial_states(3)
    logits, after = built.step(states, before)
    assert logits.shape == (3, 6)
    assert [None if known is None else tuple(known.shape) for known in (before, after)] == [
        (3, 2, LSTM_UNITS) if lstm else None
    ] * 2


def test_the_parameters_of_a_policy_network_are_those_of_the_wires_page() -> None:
    run = a_run(head="policy", lstm=True, actions=6)
    shapes = {name: list(value.shape) for name, value in networks.build_for(run).state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if not name.startswith("trunk.")} == {
        "lstm.weight_ih_l0": [1024, 128],
        "lstm.weight_hh_l0": [1024, 256],
        "lstm.bias_ih_l0": [1024],
        "lstm.bias_hh_l0": [1024],
        "policy.weight": [6, 256],
        "policy.bias": [6],
        "value.weight": [1, 256],
        "value.bias": [1],
    }
    assert networks.build_for(run.model_copy(update={"lstm": False})).state_dict()["policy.weight"].shape == (6, 128)


def test_the_lstm_computes_what_the_wires_page_says() -> None:
    network = networks.build_for(a_run(head="policy", lstm=True))
    assert isinstance(network, RecurrentPolicyNetwork)
    states, known = torch.randn(1, 1, 4), torch.randn(1, 2, LSTM_UNITS)
    with torch.no_grad():
        logits, after = network.step(states, known)
        lstm, (hidden, cell) = network.lstm, known[0]
        gates = lstm.weight_ih_l0 @ network.trunk(states)[0] + lstm.bias_ih_l0
        gates += lstm.weight_hh_l0 @ hidden + lstm.bias_hh_l0
        entered, forgotten, candidate, shown = gates.split(LSTM_UNITS)
        cell = forgotten.sigmoid() * cell + entered.sigmoid() * candidate.tanh()
        hidden = shown.sigmoid() * cell.tanh()
        assert after is not None
        torch.testing.assert_close(after[0], torch.stack([hidden, cell]))
        torch.testing.assert_close(logits[0], network.policy(hidden))


def gradients(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("network", ["dqn-2013", "dqn-2015"])
def test_in_bfloat16_features_are_rounded_to_it_and_they_and_their_gradients_differ_by_little(
    network: NetworkName, layer_norm: bool
) -> None:
    run = a_run(network=network, layer_norm=layer_norm, frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4)
    exact, rounded = (
        networks.build_for(run.model_copy(update={"precision": precision})).trunk
        for precision in ("float32", "bfloat16")
    )
    rounded.load_state_dict(exact.state_dict())
    states = torch.randint(0, 255, (64, 4, 84, 84), dtype=torch.uint8)

    expected, features = exact(states), rounded(states)
    for given in (expected, features):
        given.square().sum().backward()

    assert torch.equal(features, features.bfloat16().float())
    assert not torch.equal(expected, expected.bfloat16().float())
    assert (features - expected).norm() < 0.02 * expected.norm()
    assert (gradients(rounded) - gradients(exact)).norm() < 0.05 * gradients(exact).norm()


def test_weights_sent_in_bfloat16_are_half_as_large_and_act_alike_to_the_bit() -> None:
    run = a_run(network="dqn-2013", precision="bfloat16", frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4)
    learner, actor = networks.build_for(run), networks.build_for(run).eval()
    sent = decode(Weights(1, 2, 3, networks.published(learner)).encode()).tensors
    actor.load_state_dict(sent)
    states = torch.randint(0, 255, (64, 4, 84, 84), dtype=torch.uint8)

    with torch.no_grad():
        assert torch.equal(actor(states), learner.eval()(states))
    weights = [network.get_parameter("trunk.hidden.0.weight") for network in (actor, learner)]
    assert not torch.equal(*weights)
    size, all_of_it = (sum(of.nbytes for of in tensors.values()) for tensors in (sent, learner.state_dict()))
    assert size < 0.53 * all_of_it


@pytest.mark.parametrize("network", ["dqn-2013", "mlp"])
def test_weights_of_float32_are_sent_as_they_are(network: NetworkName) -> None:
    built = networks.build_for(a_run(network=network, frame_shape=[36, 36]))
    torch.testing.assert_close(networks.published(built), dict(built.state_dict()), rtol=0, atol=0)


def test_frames_of_floats_are_left_as_they_are() -> None:
    network = networks.build_for(a_run(network="dqn-2013", frame_shape=[36, 36]))
    states = torch.rand(2, 1, 36, 36)
    before = states.clone()
    network(states)
    assert torch.equal(states, before)


def test_the_network_of_vectors_has_no_other_precision() -> None:
    with pytest.raises(UserError, match="--precision bfloat16: is for convolutions"):
        networks.build_for(a_run(network="mlp", precision="bfloat16"))
