"""A fully connected layer that oneDNN computes on a CPU, in place of MKL.

torch gives matrix products of float32 to MKL, which takes a path half as fast on processors that are not Intel's.
Rows of bfloat16 are multiplied with the weights in bfloat16, as torch's autocast does, and give such rows again.
The operator is the one that torch's own compiler emits; torch is pinned, and a test holds it against `nn.Linear`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LEAST_ROWS = 32
"""With fewer rows MKL is the faster one, unless the weights have been packed before."""


class Dense(nn.Linear):
    """nn.Linear: x W^T + b.

    In evaluation mode without gradients, as an actor uses it, the weights are packed once after each change: its
    batches are small, and to arrange the weights anew for each would take longer than the product.

    forward: float32 or bfloat16 [N, inputs] to the same [N, outputs]
    """

    _packed: tuple[Tensor, tuple[int, torch.dtype], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 the name is nn.Module's
        """The product and the bias."""
        is_for_onednn = _is_for_onednn(input)
        if is_for_onednn and not self.training and not torch.is_grad_enabled():
            return _product(input, self._packed_weight(input), self.bias.to(input.dtype))
        weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
        if not is_for_onednn or len(input) < LEAST_ROWS:
            return functional.linear(input, weight, bias)
        result: Tensor = _Product.apply(input, weight, bias)  # type: ignore[no-untyped-call]
        return result

    def _packed_weight(self, rows: Tensor) -> Tensor:
        state = self.weight._version, rows.dtype
        if self._packed is None or self._packed[0] is not self.weight or self._packed[1] != state:
            weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().to(rows.dtype), len(rows))
            self._packed = self.weight, state, weight
        return self._packed[2]


class _Product(torch.autograd.Function):
    """The layer with its gradients, each a product too."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        return _product(gradient, weight.t()), _product(gradient.t(), rows.t()), gradient.sum(0)


def has_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16, for which it is faster than float32."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As nn.Linear: the rows times the transposed weight, and the bias added, by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def _is_for_onednn(rows: Tensor) -> bool:
    if rows.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if rows.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return rows.dtype == torch.float32
