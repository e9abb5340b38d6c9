"""A learner over real sockets, in a thread of the test."""

from __future__ import annotations

import threading
from pathlib import Path

from prometheus_client import CollectorRegistry
from small_gate import SmallGate, learner_settings

from headrace_learner import start
from headrace_proto import logs, names
from headrace_proto.arguments import parse
from headrace_proto.lifecycle import StopSignal
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings
from headrace_proto.telemetry import Health


class LearnerThread:
    """A learner of CartPole that a test starts, stops and looks at."""

    def __init__(self, folder: Path, gate: SmallGate) -> None:
        self.folder, self.gate = folder, gate
        self.failure: Exception | None = None
        self.thread: threading.Thread | None = None

    def start(self, **changes: object) -> None:
        self.stop_signal, self.health, self.registry = StopSignal(), Health(), CollectorRegistry()
        chosen = learner_settings(self.folder, self.gate, **changes)
        self.thread = threading.Thread(target=self._run, args=[chosen])
        self.thread.start()

    def _run(self, chosen: dict[str, object]) -> None:
        try:
            flags = {names.flag_name(name): value for name, value in chosen.items()}
            arguments = [flag if value is True else f"{flag}={value}" for flag, value in flags.items()]
            parsed = parse(LearnerSettings, arguments, "headrace-learner")
            log = logs.configure("learner", "error")
            checkpoint = start.find_checkpoint(parsed, log)
            start.serve(parsed, checkpoint, LearnerMetrics(self.registry), self.health, self.stop_signal, log)
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        if self.thread is not None:
            self.stop_signal.is_set = True
            self.join()

    def join(self) -> None:
        assert self.thread is not None
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()

    def metric(self, name: str) -> float:
        value = self.registry.get_sample_value(f"headrace_learner_{name}")
        assert value is not None
        return value
