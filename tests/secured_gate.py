"""A gate with keys, and actors and a learner's socket for tests of who gets in."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import zmq
from made_up import a_run
from prometheus_client import CollectorRegistry

from headrace_gate.service import GateService
from headrace_proto import logs
from headrace_proto.keys import Role
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger
from headrace_proto.messages import PROGRESS_TOPIC, Join, Progress
from headrace_proto.settings import ActorSettings, GateSettings, LearnerSettings, SocketSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.telemetry import Health

ANY_PORT = "tcp://127.0.0.1:*"
SETTINGS: dict[Role, type[SocketSettings]] = {"gate": GateSettings, "learner": LearnerSettings, "actor": ActorSettings}


class SecuredGate:
    """A gate with keys in a thread, or one without to compare it with, and a learner's socket for it to hear."""

    def __init__(self, folder: Path, control_bind: str = ANY_PORT, *, has_keys: bool = True) -> None:
        self.folder = folder
        used = folder if has_keys else None
        self.learner = service_sockets("learner", used)
        self.publisher = self.learner.make(zmq.XPUB)
        weights = self.learner.bind(self.publisher, ANY_PORT, "weights-bind", "weights", clients=["gate", "actor"])
        settings = GateSettings(
            keys=used,
            transitions_bind=ANY_PORT,
            control_bind=control_bind,
            batches_bind=ANY_PORT,
            learner_address=weights,
        )
        self.registry, self.stop = CollectorRegistry(), StopSignal()
        self.service = GateService(settings, self.registry, Health(), quiet_log())
        self.addresses = {
            "control": self.service.control_address,
            "transitions": self.service.transitions_address,
            "batches": self.service.batches_address,
        }
        self.thread = threading.Thread(target=self.service.run, args=[self.stop])
        self.thread.start()

    def failures(self, socket: str, *reasons: str) -> float:
        return sum(self.all_failures[socket, reason] for reason in reasons)

    @property
    def all_failures(self) -> dict[tuple[str, str], float]:
        return {
            (sample.labels["socket"], sample.labels["reason"]): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "headrace_handshake_failures_total"
        }

    @property
    def refused_messages(self) -> float:
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "headrace_gate_refused_messages_total"
        )

    @staticmethod
    def progress() -> Progress:
        """What its learner says that has met no gate."""
        return Progress(
            learner=b"L" * 16,
            gate=bytes(16),
            generation=0,
            version=0,
            published_version=0,
            env_steps=0,
            received_batch=0,
            trained_batch=0,
            trained=0,
            rejected={},
            run=a_run(),
            waiting_for="gate",
            finished=False,
        )

    def greets(self, batches: zmq.Socket[bytes]) -> bool:
        """Say as its learner that no gate is known, and see whether its answer, a batch, comes out here."""
        self.publisher.send_multipart([PROGRESS_TOPIC, self.progress().encode()])
        return batches.poll(50) != 0

    def close(self) -> None:
        self.stop.is_set = True
        self.thread.join(10)
        self.learner.close(linger=0)


def quiet_log() -> Logger:
    return logs.configure("test", "error")


def service_sockets(role: Role, folder: Path | None, insecure: bool = False) -> ServiceSockets:
    return ServiceSockets(role, SETTINGS[role](keys=folder, insecure=insecure), quiet_log())


class WaitingActor:
    """An actor's control socket that goes on asking to be taken in, as actors do."""

    def __init__(self, folder: Path, address: str) -> None:
        self.sockets = service_sockets("actor", folder)
        self.dealer = self.sockets.make(zmq.DEALER)
        self.dealer.routing_id = b"W" * 16
        self.sockets.connect(self.dealer, address, "gate-address", server="gate")

    def is_answered(self) -> bool:
        self.sockets.reconnect_refused()
        with contextlib.suppress(zmq.Again):  # while it is refused there is nowhere to send
            self.dealer.send(Join(host="test").encode(), zmq.NOBLOCK)
        return self.dealer.poll(100) != 0

    def close(self) -> None:
        self.sockets.close(linger=0)
