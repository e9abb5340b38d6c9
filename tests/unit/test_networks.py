"""The networks: what they normalise, and the shapes that they take and give."""

from __future__ import annotations

import pytest
import torch
from made_up import a_run
from torch import nn

from headrace_proto import networks
from headrace_proto.networks import ImageNorm
from headrace_proto.specification import NetworkName


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
