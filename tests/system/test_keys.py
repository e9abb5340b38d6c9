"""The services of a run on TCP with keys: it trains to its end, with an encrypted wire and keys changed on the way."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until

from headrace_proto import keys

GAME = "CartPole-v1"


class Services:
    """Gate, learner and actor as processes of their own, on ports of this machine that were free a moment ago."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        transitions, control, batches, weights = (f"tcp://127.0.0.1:{port}" for port in free_ports(4))
        self.arguments = {
            "gate": (
                *("--transitions-bind", transitions, "--control-bind", control, "--batches-bind", batches),
                *("--learner-address", weights, "--journal", str(folder / "journal")),
            ),
            "learner": (
                *("--weights-bind", weights, "--batches-address", batches, "--run-dir", str(folder / "run")),
                *("--game", GAME, "--steps", "100000000", "--resume", "auto", "--save-every", "1000"),
            ),
            "actor": ("--gate-address", control),
        }
        self.weights = weights

    def start(self, role: str, keys_folder: Path) -> subprocess.Popen[bytes]:
        command = [
            *(str(Path(sys.executable).with_name(f"headrace-{role}")), *self.arguments[role]),
            *("--keys", str(keys_folder), "--metrics-port", "0"),
            *("--metrics-address-file", str(self.folder / f"{role}.address")),
        ]
        with (self.folder / f"{role}.log").open("ab") as log:
            return self._stack.enter_context(ended(subprocess.Popen(command, stdout=log, stderr=log)))

    def value(self, role: str, name: str) -> float:
        """Sum of a metric's samples; 0 while the service does not serve it."""
        try:
            address = (self.folder / f"{role}.address").read_text().strip()
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return 0.0
        families = text_string_to_metric_families(text)
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == f"headrace_{name}"
        )

    def trained(self) -> float:
        return self.value("gate", "gate_trained_transitions_total")

    def trains_on(self) -> None:
        target = self.trained() + 500
        wait_until(lambda: self.trained() > target, seconds=120)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys")
    return tmp_path


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


@pytest.mark.timeout(400)
def test_a_run_trains_with_keys_and_every_role_can_have_a_new_one_without_a_restart_of_the_others(folder: Path) -> None:
    keys_folder = folder / "keys"
    with ExitStack() as stack:
        services = Services(folder, stack)
        gate, learner, actor = (services.start(role, keys_folder) for role in ("gate", "learner", "actor"))
        services.trains_on()

        keys.rotate(keys_folder, ["gate"])
        assert stop(gate) == 0
        gate = services.start("gate", keys_folder)
        services.trains_on()

        keys.rotate(keys_folder, ["learner"])
        assert stop(learner) == 4
        learner = services.start("learner", keys_folder)
        services.trains_on()

        keys.rotate(keys_folder, ["actor"])
        assert stop(actor) == 0
        actor = services.start("actor", keys_folder)
        services.trains_on()

        keys.retire(keys_folder, keys.ROLES)
        assert stop(actor) == 0
        actor = services.start("actor", keys_folder)
        services.trains_on()
        assert [stop(actor), stop(learner), stop(gate)] == [0, 4, 0]


@pytest.mark.timeout(200)
def test_an_actor_of_another_folder_of_keys_trains_nothing_and_is_counted(folder: Path, tmp_path: Path) -> None:
    keys.make(tmp_path / "foreign")
    with ExitStack() as stack:
        services = Services(folder, stack)
        for role in ("gate", "learner"):
            services.start(role, folder / "keys")
        services.start("actor", tmp_path / "foreign")

        wait_until(lambda: b"handshake failed" in (folder / "actor.log").read_bytes(), seconds=60)
        wait_until(lambda: services.value("gate", "handshake_failures_total") > 1, seconds=60)
        wait_until(lambda: services.value("learner", "learner_published_bytes_total") > 0, seconds=60)

        assert services.value("gate", "gate_actors") == 0
        assert services.value("gate", "gate_promised_transitions_total") == 0
        services.start("actor", folder / "keys")
        services.trains_on()
