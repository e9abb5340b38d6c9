"""The learner on a CUDA device: it computes what it computes on the CPU. Left out where there is no such device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import a_batch, a_checkpoint_state, a_rollout
from prometheus_client import CollectorRegistry

from headrace_learner import checkpoints, run
from headrace_learner.batches import Batch
from headrace_learner.replay_training import ReplayTraining
from headrace_learner.training import Learner, Update, choose_device
from headrace_proto import networks
from headrace_proto.replay_metrics import ReplayMetrics
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import LSTM_UNITS
from headrace_proto.weights import Weights, decode

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

BATCHES = 3

WAYS: dict[str, dict[str, Any]] = {
    "pqn": {},
    "pqn in one minibatch": {"minibatches": 1},
    "pqn that bootstraps newest values": {"bootstrap": "newest"},
    "pqn with retrace": {"traces": "retrace"},
    "pqn with importance": {"traces": "importance"},
    "pqn that plays by a mean": {"weights_average": 0.5},
    "pqn of the 2015 trunk": {"network": "dqn-2015"},
    "nstep-q": {"algorithm": "nstep-q"},
    "nstep-q, double": {"algorithm": "nstep-q", "double_q": True},
    "one-step-q": {"algorithm": "one-step-q"},
    "one-step-sarsa": {"algorithm": "one-step-sarsa"},
    "a3c": {"algorithm": "a3c"},
    "a3c with an LSTM": {"algorithm": "a3c", "lstm": True},
}


@pytest.fixture(autouse=True)
def _all_bits() -> Iterator[None]:
    """Convolutions with the 24 bits of float32: by default the device takes 11 of them."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def settings_of(**changes: Any) -> RunSettings:
    """Their optimizer moves a weight in proportion to its gradient: a difference of rounding stays one."""
    fields: dict[str, Any] = {
        "game": "pong",
        "rollout_length": 8,
        "n_step": 3,
        "optimizer": "rmsprop",
        "optimizer_epsilon": 0.1,
        "learning_rate": 0.01,
        "steps": 1_000_000,
    }
    return RunSettings(**fields | changes)


def a_learner(settings: RunSettings, device: str) -> Learner:
    return Learner(settings, run.specify(settings), choose_device(device))


def batches_of(settings: RunSettings, count: int = BATCHES) -> list[Batch]:
    specification = run.specify(settings)
    state = {"recurrent_state": torch.randn(2, LSTM_UNITS).numpy()} if settings.lstm else {}
    lengths = [8, 8, 5, 8, 3]
    return [
        a_batch(
            specification,
            [a_rollout(specification, length, seed=10 * number + length, **state) for length in lengths],
        )
        for number in range(count)
    ]


def shown(updates: list[Update]) -> list[list[float]]:
    return [[update.loss, update.gradient_norm, *update.logged.values()] for update in updates]


@pytest.mark.parametrize("way", WAYS)
def test_batches_are_trained_as_on_the_cpu(way: str) -> None:
    settings = settings_of(**WAYS[way])
    on_cpu, on_gpu = a_learner(settings, "cpu"), a_learner(settings, "cuda")

    for batch in batches_of(settings):
        torch.testing.assert_close(shown(on_gpu.train(batch)), shown(on_cpu.train(batch)), rtol=1e-3, atol=1e-4)

    expected = on_cpu.tensors()
    assert on_gpu.device.type == "cuda"
    for name, found in on_gpu.tensors().items():
        torch.testing.assert_close(found.cpu(), expected[name], rtol=1e-3, atol=1e-5, msg=f"{name} differs")


@pytest.mark.parametrize("optimizer", ["radam", "adam", "rmsprop", "rmsprop-keras"])
def test_a_run_goes_on_from_a_checkpoint_on_either_device(optimizer: str, tmp_path: Path) -> None:
    settings = settings_of(optimizer=optimizer, optimizer_epsilon=1e-3, learning_rate=1e-4)
    *first, last = batches_of(settings, 8)
    learner = a_learner(settings, "cuda")
    for batch in first:
        learner.train(batch)
    checkpoints.write(tmp_path / "step-1", a_checkpoint_state(1), learner.tensors())

    on_cpu, on_gpu = a_learner(settings, "cpu"), a_learner(settings, "cuda")
    for resumed in (on_cpu, on_gpu):
        resumed.load_tensors(checkpoints.read(tmp_path / "step-1").tensors())
        resumed.counters.env_steps = learner.counters.env_steps

    expected = shown(learner.train(last))
    torch.testing.assert_close(shown(on_gpu.train(last)), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(shown(on_cpu.train(last)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
def test_the_replay_trains_as_on_the_cpu(kind: str) -> None:
    settings = settings_of(algorithm="nstep-q", replay=kind, replay_min_size_to_sample=20, samples_per_insert=2.0)
    specification, trained = run.specify(settings), []
    for device in ("cpu", "cuda"):
        replay = ReplayTraining(a_learner(settings, device), specification, ReplayMetrics(CollectorRegistry()))
        trained.append([shown(replay.train(batch, version)) for version, batch in enumerate(batches_of(settings))])

    assert any(trained[0])
    torch.testing.assert_close(trained[1], trained[0], rtol=1e-3, atol=1e-4)


def test_actors_get_the_weights_in_their_own_memory() -> None:
    settings = settings_of()
    learner = a_learner(settings, "cuda")

    published = decode(Weights(1, 0, 0, networks.published(learner.behaviour)).encode())

    assert {tensor.device.type for tensor in published.tensors.values()} == {"cpu"}
    torch.testing.assert_close(published.tensors, {k: v.cpu() for k, v in learner.online.state_dict().items()})
