"""The optimizers, and the norm of a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from headrace_proto.run_settings import RunSettings


class RMSProp(Optimizer):
    """RMSProp without momentum, not centred.

    g <- alpha g + (1 - alpha) d^2, then theta <- theta - lr d / sqrt(g + epsilon): arXiv 1602.01783, equation S2, whose
    g is shared by all actor-learners as it is here. With `epsilon_outside_root` the step is lr d / (sqrt(g) + epsilon),
    as the ancestor's Keras and torch.optim have it: with epsilon 0.1 that is a different optimizer.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, alpha: float, epsilon: float, *, epsilon_outside_root: bool
    ) -> None:
        self._epsilon_outside_root = epsilon_outside_root
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None, "a closure is for line searches"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["mean_square"] = torch.zeros_like(parameter)
        mean_square = state["mean_square"]
        mean_square.mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
        if self._epsilon_outside_root:
            denominator = mean_square.sqrt().add_(group["epsilon"])
        else:
            denominator = mean_square.add(group["epsilon"]).sqrt_()
        parameter.addcdiv_(gradient, denominator, value=-group["lr"])


class RAdam(torch.optim.Adam):
    """Adam whose learning rate is rectified while its mean square is young: Liu et al., arXiv 1908.03265, Algorithm 2.

    A rate that varies is all that it needs, so it runs as the fused Adam: one pass over the parameters where
    torch.optim.RAdam makes ten. In its first five steps, where the variance is not tractable, it does not move; the
    paper makes a step of plain momentum there.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None, "a closure is for line searches"
        rates = [group["lr"] for group in self.param_groups]
        # All parameters have made as many steps; to read the number of one waits for the device, and once is enough.
        state = next(iter(self.state.values()), None)
        done = int(state["step"]) if state else 0
        for group in self.param_groups:
            group["lr"] *= rectification(done + 1, group["betas"][1])
        super().step()
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate


def rectification(step: int, beta: float) -> float:
    """What RAdam multiplies its learning rate with at a step, counted from 1; 0 where the variance is not tractable."""
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * step * beta**step / (1 - beta**step)
    if length <= 5:
        return 0.0
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


def make(settings: RunSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer that the settings name."""
    if settings.optimizer in ("adam", "radam"):
        kind = torch.optim.Adam if settings.optimizer == "adam" else RAdam
        return kind(parameters, lr=settings.learning_rate, eps=settings.optimizer_epsilon, fused=True)
    return RMSProp(
        parameters,
        lr=settings.learning_rate,
        alpha=settings.rmsprop_alpha,
        epsilon=settings.optimizer_epsilon,
        epsilon_outside_root=settings.optimizer == "rmsprop-keras",
    )


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradient(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Scale the gradient to at most the norm `largest`, unless that is 0; returns the norm before."""
    parameters = list(parameters)
    norm = torch.nn.utils.get_total_norm(parameter.grad for parameter in parameters if parameter.grad is not None)
    if largest:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return float(norm)


def tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter number and name, e.g. "3/exp_avg"."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}


def load_tensors(optimizer: Optimizer, saved: dict[str, Tensor]) -> None:
    """Put back what `tensors` gave, in the memory layout of the parameters, which fused optimizers rely on.

    Raises ValueError and LookupError for what is no state of such parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for key, value in saved.items():
        index, name = key.split("/")
        parameter = parameters[int(index)]
        if value.ndim and value.shape != parameter.shape:
            raise ValueError(f"{key} is {list(value.shape)}, of a parameter of {list(parameter.shape)}")
        like = torch.empty_like(parameter if value.ndim else value)
        optimizer.state[parameter][name] = like.to(parameter.device).detach().copy_(value)
