"""The real replay-gate in a process of its own, on free ports of this machine, with a journal."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from headrace_local import launch, targets
from headrace_local.processes import ChildProcess, ProcessSpecification
from headrace_local.scrape import fetch_samples
from headrace_proto.settings import GateSettings

NOTHING_OF = (
    "headrace_gate_lost_transitions_total",
    "headrace_gate_rejected_transitions_total",
    "headrace_gate_refused_messages_total",
)
ANSWER_SECONDS = 60.0


class GateProcess(AbstractContextManager["GateProcess"]):
    """Runs until the end of the block. `pid` is its process, `addresses` are its sockets' and the learner's."""

    def __init__(self, folder: Path, capacity: int, lease_seconds: float = 10.0) -> None:
        """The learner whose address it gets need not be there yet. Its log and journal go into the folder."""
        self.addresses = launch.make_addresses("tcp", folder)
        address_file = folder / "gate.address"
        settings = {
            "capacity": capacity,
            "lease_seconds": lease_seconds,
            "transitions_bind": self.addresses.transitions,
            "control_bind": self.addresses.control,
            "batches_bind": self.addresses.batches,
            "learner_address": self.addresses.weights,
            "journal": folder / "gate.journal",
            "metrics_port": 0,
            "metrics_address_file": address_file,
            "log_level": "warning",
        }
        self._child = ChildProcess(
            ProcessSpecification(
                name="gate",
                role="gate",
                command=(sys.executable, "-m", "headrace_gate"),
                log=folder / "gate.log",
                address_file=address_file,
                environment=launch.environment(GateSettings, settings),
            )
        )
        self.pid = self._child.pid

    def require_alive(self) -> None:
        """Raise RuntimeError with the end of its log if it has ended."""
        if self._child.status is not None:
            raise RuntimeError("the gate has ended:\n" + "\n".join(self._child.last_lines()))

    def require_nothing_lost(self) -> None:
        """Raise RuntimeError if it has lost or rejected a transition, or refused a message, or does not tell."""
        samples = fetch_samples(targets.address(self._child.specification), ANSWER_SECONDS)
        if not samples:
            raise RuntimeError("the gate does not answer on /metrics")
        found = {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for sample in samples
            if sample.name in NOTHING_OF and sample.value
        }
        if found:
            raise RuntimeError(f"the gate should carry everything, but it says {found}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
