"""Gate, learner and actors as processes of their own on tcp, as on several machines, with keys or without."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from waiting import wait_until

from headrace_local.ports import free_ports

GAME = "CartPole-v1"

MOST_RESIDENT_BYTES = {"gate": 768 * 1024**2, "learner": 1024**3}
"""Whatever their peers do. By themselves they take 60 and 345 MiB."""


class Services:
    """Services on ports of this machine that were free a moment ago; ended with the stack."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        transitions, control, batches, weights = (f"tcp://127.0.0.1:{port}" for port in free_ports(4))
        self.addresses = {"transitions": transitions, "control": control, "batches": batches, "weights": weights}
        self.arguments = {
            "gate": (
                *("--transitions-bind", transitions, "--control-bind", control, "--batches-bind", batches),
                *("--learner-address", weights, "--journal", str(folder / "journal")),
            ),
            "learner": (
                *("--weights-bind", weights, "--batches-address", batches, "--run-dir", str(folder / "run")),
                *("--game", GAME, "--steps", "100000000", "--resume", "auto", "--save-every", "100000"),
            ),
            "actor": ("--gate-address", control),
        }

    def start(self, role: str, keys_folder: Path | None, most_open_files: int | None = None) -> subprocess.Popen[bytes]:
        command = [
            *(() if most_open_files is None else ("prlimit", f"--nofile={most_open_files}")),
            *(str(Path(sys.executable).with_name(f"headrace-{role}")), *self.arguments[role]),
            *(() if keys_folder is None else ("--keys", str(keys_folder))),
            *("--metrics-port", "0", "--metrics-address-file", str(self.folder / f"{role}.address")),
        ]
        with (self.folder / f"{role}.log").open("ab") as log:
            return self._stack.enter_context(ended(subprocess.Popen(command, stdout=log, stderr=log)))

    def value(self, role: str, name: str, **labels: str) -> float:
        """Sum of a metric's samples with these labels; 0 while the service does not serve it."""
        return sum(
            sample.value
            for sample in self.samples(role)
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def samples(self, role: str) -> list[Sample]:
        """One scrape; empty while the service answers none."""
        try:
            address = (self.folder / f"{role}.address").read_text().strip()
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:
                text = response.read().decode()
        except OSError:
            return []
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def trained(self) -> float:
        return self.value("gate", "headrace_gate_trained_transitions_total")

    def trains_on(self, transitions: float = 500) -> None:
        target = self.trained() + transitions
        wait_until(lambda: self.trained() > target, seconds=120)


def peak_resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a process has had at any moment."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
