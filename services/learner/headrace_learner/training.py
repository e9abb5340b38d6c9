"""The learner itself: networks, optimizer and counters, and the updates of a batch. No sockets and no files."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from headrace_learner import algorithms, optimizers, schedules
from headrace_learner.algorithms import Evaluation
from headrace_learner.batches import Batch
from headrace_proto import networks
from headrace_proto.errors import NonFiniteError, UserError
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import RunSpecification

RETURN_WINDOW = 100
"""Games whose mean score is shown."""


@dataclass(slots=True)
class Counters:
    """How far a run is, over all the processes that it had. `updates` are optimizer steps."""

    env_steps: int = 0
    updates: int = 0
    episodes: int = 0
    best_return: float | None = None
    recent_returns: deque[float] = field(default_factory=lambda: deque(maxlen=RETURN_WINDOW))

    @property
    def return_mean(self) -> float | None:
        """Mean raw score of the last games, None before the first one ends."""
        return sum(self.recent_returns) / len(self.recent_returns) if self.recent_returns else None


@dataclass(frozen=True, slots=True)
class Update:
    """What one update showed; the norm of the gradient is the one before clipping, `logged` the algorithm's own.

    minibatch: int64 [M], the transitions of the batch that it trained; None for all of them, or for a replay's sample
    """

    loss: float
    q_value_mean: float
    gradient_norm: float
    learning_rate: float
    seconds: float
    logged: Mapping[str, float] = field(default_factory=dict)
    minibatch: NDArray[np.int64] | None = None


class Learner:
    """Trains one batch after another; the same batches from the same state give the same result.

    online: the network that is trained; target: the copy that bootstraps, in algorithms that have one
    behaviour: the one that actors play by; the running mean of `online`, or that itself
    evaluated: the one that evaluation acts by; the running mean of `behaviour`, or that itself
    """

    def __init__(self, settings: RunSettings, run: RunSpecification, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.device = device
        self.random = torch.Generator().manual_seed(settings.seed)
        self.online = networks.build_for(run).to(device)
        self.algorithm = algorithms.make(settings)
        self.target = self._make_copy(run) if self.algorithm.has_target_network else self.online
        self.behaviour = self._make_copy(run) if settings.weights_average else self.online
        self.evaluated = self._make_copy(run) if settings.evaluation_average else self.behaviour
        self.optimizer = optimizers.make(settings, self.online.parameters())
        self.counters = Counters()

    def train(self, batch: Batch) -> list[Update]:
        """One optimizer step on each minibatch of a batch, which then is trained; raises NonFiniteError as `step`."""
        updates: list[Update] = []
        started = time.perf_counter()
        for evaluation in self.algorithm.evaluations(batch.to(self.device), self.online, self.target, self.random):
            updates.append(self.step(evaluation, started))
            started = time.perf_counter()
        self.count(batch)
        return updates

    def step(self, evaluation: Evaluation, started: float) -> Update:
        """One optimizer step; raises NonFiniteError, and changes nothing, if loss or gradient is not finite.

        `started` is when the update began, by `time.perf_counter`.
        """
        rate = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        evaluation.loss.backward()  # type: ignore[no-untyped-call]
        loss = float(evaluation.loss.detach())
        gradient_norm = optimizers.clip_gradient(self.online.parameters(), self.settings.gradient_clip)
        self._require_finite(loss, gradient_norm)
        optimizers.set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self._move_means()
        self.counters.updates += 1
        q_value_mean = float(evaluation.q_values.mean())
        seconds = time.perf_counter() - started
        return Update(loss, q_value_mean, gradient_norm, rate, seconds, evaluation.logged, evaluation.minibatch)

    def _networks(self) -> dict[str, nn.Module]:
        """By its name in a checkpoint each network that is one of its own."""
        named = {"evaluated": self.evaluated, "behaviour": self.behaviour, "target": self.target, "online": self.online}
        names = {network: name for name, network in named.items()}  # one that stands for others has the last name
        return {name: network for network, name in names.items()}

    def _make_copy(self, run: RunSpecification) -> nn.Module:
        copied = networks.build_for(run).to(self.device).requires_grad_(requires_grad=False)
        copied.load_state_dict(self.online.state_dict())
        return copied

    def _move_means(self) -> None:
        move_mean(self.behaviour, self.online, self.settings.weights_average)
        kept = schedules.share_kept(self.settings.evaluation_average, self.counters.updates)
        move_mean(self.evaluated, self.behaviour, kept)

    def _learning_rate(self) -> float:
        settings = self.settings
        return schedules.learning_rate(
            settings.learning_rate, settings.decay_steps_of_learning_rate, self.counters.env_steps
        )

    def _require_finite(self, loss: float, gradient_norm: float) -> None:
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            raise NonFiniteError(
                f"update {self.counters.updates + 1} at env_steps {self.counters.env_steps}: the loss is {loss}, the "
                f"norm of its gradient {gradient_norm}; the update was not applied"
            )

    def count(self, batch: Batch) -> None:
        """A batch is trained: its env_steps and games, and what is due after so many."""
        counters = self.counters
        before = counters.env_steps
        counters.env_steps += len(batch)
        counters.episodes += len(batch.episodes)
        for episode in batch.episodes:
            counters.recent_returns.append(episode.score)
            best = counters.best_return
            counters.best_return = episode.score if best is None else max(best, episode.score)
        is_due = schedules.passes_multiple(before, counters.env_steps, self.settings.target_update_every)
        if self.algorithm.has_target_network and is_due:
            self.target.load_state_dict(self.online.state_dict())

    def parameters_are_finite(self) -> bool:
        """Whether the online network may be saved."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.online.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint keeps of the learner as tensors: networks, optimizer and random numbers."""
        return {
            **{
                f"{name}/{key}": value
                for name, network in self._networks().items()
                for key, value in network.state_dict().items()
            },
            **{f"optimizer/{name}": value for name, value in optimizers.tensors(self.optimizer).items()},
            "random/torch": self.random.get_state(),
        }

    def load_tensors(self, saved: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave; raises UserError if it is of another network."""
        for name, network in self._networks().items():
            load_copy(network, saved, name, *(["behaviour"] if name == "evaluated" else []))
        optimizers.load_tensors(self.optimizer, _within(saved, "optimizer"))
        self.random.set_state(saved["random/torch"])


def load_network(network: nn.Module, saved: dict[str, Tensor], prefix: str) -> None:
    """Put saved parameters into a network; raises UserError if they are of another one."""
    try:
        network.load_state_dict(_within(saved, prefix))
    except RuntimeError as error:
        raise UserError(
            f"the checkpoint holds another network than the run's: {' '.join(str(error).split())}"
        ) from error


def load_copy(network: nn.Module, saved: dict[str, Tensor], *prefixes: str) -> None:
    """Put the first of these that a run has saved into a network: its online network, if it has none of them.

    Raises UserError as `load_network`.
    """
    found = {name.partition("/")[0] for name in saved}
    load_network(network, saved, next((prefix for prefix in prefixes if prefix in found), "online"))


def move_mean(mean: nn.Module, newest: nn.Module, kept: float) -> None:
    """Move a running mean of weights, which keeps so much of itself, towards the newest; nothing if it is these."""
    if mean is not newest:
        move = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        move(list(mean.parameters()), list(newest.parameters()), None)


def choose_device(choice: str) -> torch.device:
    """The device that `--device` names; raises UserError for a CUDA device that is not there."""
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise UserError("--device cuda: torch finds no CUDA device; allowed here: cpu, auto")
    return torch.device("cuda" if choice != "cpu" and available else "cpu")


def _within(saved: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): value for name, value in saved.items() if name.startswith(f"{prefix}/")}
