"""The optimizers against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from made_up import a_run
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from headrace_learner import optimizers
from headrace_learner.optimizers import RAdam, RMSProp, rectification
from headrace_proto import networks
from headrace_proto.run_settings import RunSettings


def moved(optimizer_class: type[RMSProp], gradients: list[float], *, epsilon_outside_root: bool) -> float:
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimizer_class(
        [parameter], lr=0.5, alpha=0.75, epsilon=0.25, epsilon_outside_root=epsilon_outside_root
    )
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return float(parameter.detach())


def test_the_papers_rmsprop_has_epsilon_inside_the_root() -> None:
    # g = 0.25 * 4 = 1, then 0.75 + 0.25 * 1 = 1
    expected = 1 - 0.5 * 2 / math.sqrt(1.25) - 0.5 * 1 / math.sqrt(1.25)
    assert moved(RMSProp, [2.0, 1.0], epsilon_outside_root=False) == pytest.approx(expected)


def test_the_ancestors_rmsprop_has_epsilon_outside_the_root() -> None:
    expected = 1 - 0.5 * 2 / 1.25 - 0.5 * 1 / 1.25
    assert moved(RMSProp, [2.0, 1.0], epsilon_outside_root=True) == pytest.approx(expected)


def test_rmsprop_with_epsilon_outside_is_torchs() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    first = RMSProp(ours.parameters(), lr=0.01, alpha=0.9, epsilon=1e-7, epsilon_outside_root=True)
    second = torch.optim.RMSprop(theirs.parameters(), lr=0.01, alpha=0.9, eps=1e-7)
    for _ in range(5):
        states = torch.randn(4, 3)
        for network, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            network(states).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_fused_adam_moves_channels_last_convolutions_as_plain_adam_does() -> None:
    torch.manual_seed(1)
    run = a_run(network="dqn-2013", layer_norm=True, frame_shape=[36, 36], frame_dtype="|u1", frame_stack=2)
    ours, theirs = (networks.build_for(run) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    settings = RunSettings(optimizer="adam", learning_rate=0.01)
    first = optimizers.make(settings, ours.parameters())
    second = torch.optim.Adam(theirs.parameters(), lr=0.01, eps=settings.optimizer_epsilon, foreach=False)
    for _ in range(3):
        states = torch.randint(0, 255, (4, 2, 36, 36), dtype=torch.uint8)
        for network, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            network(states).square().mean().backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("largest", "after"), [(0.0, 5.0), (10.0, 5.0), (1.0, 1.0)])
def test_the_norm_of_the_gradient_is_always_measured_and_clipped_only_above_a_positive_limit(
    largest: float, after: float
) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert optimizers.clip_gradient([parameter], largest) == pytest.approx(5.0)
    assert float(parameter.grad.norm()) == pytest.approx(after, rel=1e-4)


def test_a_learning_rate_of_zero_moves_nothing() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimizers.make(RunSettings(optimizer="rmsprop"), [parameter])
    optimizers.set_learning_rate(optimizer, 0.0)
    parameter.grad = torch.tensor([3.0])
    optimizer.step()
    assert float(parameter.detach()) == 1.0


def test_radam_moves_as_the_papers_does_once_its_variance_is_tractable() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    first = RAdam(ours.parameters(), lr=0.01, eps=1e-12, fused=True)
    second = torch.optim.RAdam(theirs.parameters(), lr=0.01, eps=1e-12)
    for step in range(12):
        theirs.load_state_dict(ours.state_dict())
        before = ours.weight.detach().clone()
        states = torch.randn(4, 3)
        for network, optimizer in ((ours, first), (theirs, second)):
            optimizer.zero_grad()
            network(states).square().mean().backward()
            optimizer.step()
        if step < 5:
            assert torch.equal(ours.weight, before)
        else:
            assert not torch.equal(ours.weight, before)
            torch.testing.assert_close(ours.weight, theirs.weight)


def test_the_rectification_is_nothing_at_first_and_rises_to_one() -> None:
    factors = [rectification(step, 0.999) for step in (1, 5, 6, 100, 1_000, 100_000)]
    assert factors[:2] == [0.0, 0.0]
    assert factors == sorted(factors)
    assert factors[-1] == pytest.approx(1.0)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often a tensor's number is read, for which a device is waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += operator is torch.ops.aten._local_scalar_dense.default
        return operator(*args, **kwargs or {})


def test_radam_reads_one_number_a_step_however_many_parameters_it_has() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = optimizers.make(RunSettings(optimizer="radam"), network.parameters())
    reads = Reads()
    for _ in range(2):
        network(torch.ones(1, 2)).sum().backward()
        with reads:
            optimizer.step()
    assert reads.count == 1, "the second step's: before the first there is no number"


def test_radam_leaves_the_learning_rate_that_was_set() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimizers.make(RunSettings(optimizer="radam", learning_rate=0.5), [parameter])
    parameter.grad = torch.tensor([3.0])
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
