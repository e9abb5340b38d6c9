"""The fully connected layer of oneDNN: what nn.Linear computes, whatever way it takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from headrace_proto.dense import LEAST_ROWS, Dense

FEW, MANY = LEAST_ROWS - 1, LEAST_ROWS


def twins() -> tuple[Dense, nn.Linear]:
    torch.manual_seed(1)
    ours, theirs = Dense(48, 24), nn.Linear(48, 24)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def gradients(layer: nn.Linear, rows: Tensor) -> list[Tensor]:
    rows = rows.clone().requires_grad_()
    layer(rows).pow(2).sum().backward()
    found = [rows.grad, layer.weight.grad, layer.bias.grad]
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_values_and_gradients_are_those_of_a_linear_layer(rows: int) -> None:
    ours, theirs = twins()
    batch = torch.randn(rows, 48)

    torch.testing.assert_close(ours(batch), theirs(batch))
    torch.testing.assert_close(gradients(ours, batch), gradients(theirs, batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, FEW, MANY])
def test_weights_packed_for_one_number_of_rows_serve_any(rows: int) -> None:
    ours, theirs = twins()
    with torch.inference_mode():
        ours.eval()(torch.randn(8, 48))
        batch = torch.randn(rows, 48)
        torch.testing.assert_close(ours(batch), theirs(batch))


@pytest.mark.parametrize("assign", [False, True])
def test_weights_that_change_are_packed_anew(assign: bool) -> None:
    ours, theirs = twins()
    batch = torch.randn(8, 48)
    # As they come off the wire: tensors of their own, none of which was ever changed.
    ours.load_state_dict({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, assign=assign)
    with torch.inference_mode():
        before = ours.eval()(batch)
    theirs.reset_parameters()
    ours.load_state_dict({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, assign=assign)

    with torch.inference_mode():
        assert not torch.equal(before, ours(batch))
        torch.testing.assert_close(ours(batch), theirs(batch))


def test_the_same_rows_give_the_same_bits() -> None:
    ours, _ = twins()
    batch = torch.randn(MANY, 48)
    assert torch.equal(ours(batch), ours(batch))


def test_doubles_are_left_to_torch() -> None:
    layer = Dense(3, 2).double()
    assert torch.autograd.gradcheck(layer, (torch.randn(MANY, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_rows_of_bfloat16_are_multiplied_in_it_and_leave_gradients_of_float32(rows: int) -> None:
    ours, theirs = twins()
    batch = torch.randn(rows, 48).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        expected = theirs(batch)
        theirs(batch).float().pow(2).sum().backward()

    result = ours(batch)
    result.float().pow(2).sum().backward()

    assert result.dtype == torch.bfloat16
    assert ours.weight.grad is not None
    assert ours.weight.grad.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=0.05, atol=0.05 * rows)


def test_weights_are_packed_anew_for_rows_of_another_type() -> None:
    ours, theirs = twins()
    batch = torch.randn(8, 48)
    with torch.inference_mode():
        ours.eval()(batch)
        assert ours(batch.bfloat16()).dtype == torch.bfloat16
        torch.testing.assert_close(ours(batch), theirs(batch))
