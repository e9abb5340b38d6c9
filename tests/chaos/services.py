"""The services of a run as processes of their own, each on its host; nobody restarts one but the schedule.

The supervisor of `headrace train` is not used: it would start again by itself what was killed, on its own clock, and
hide a process that died of itself, which here ends the run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaos.clocks import Clocks
from chaos.kinds import ACTOR_HOSTS
from chaos.network import Network
from headrace_local import launch, targets
from headrace_local.processes import ChildProcess, ProcessSpecification, Role, describe_status
from headrace_proto import keys
from headrace_proto.base_settings import Settings
from headrace_proto.errors import EXIT_STOPPED
from headrace_proto.settings import ActorSettings, GateSettings, LearnerSettings

GAME = "CartPole-v1"
"""A light environment, so that eight actors have room on two cores."""

SAVE_EVERY_STEPS = 2_000
"""About once a second, so that a fault of the disk meets a checkpoint."""

STARTED = '"event": "started"'
"""In a learner's log, before it looks for its gate."""

GOOD_END = {"gate": 0, "learner": EXIT_STOPPED, "actor": 0}
"""Exit status of a service that SIGTERM has ended."""


class Service:
    """One service in its place, which one process after another takes."""

    def __init__(self, specification: ProcessSpecification) -> None:
        self.specification = specification
        self.name, self.role = specification.name, specification.role
        self.process: ChildProcess | None = None
        self.number = 0
        self.is_wanted = False

    def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Start the next process, by a command that `prefix` begins."""
        command = (*prefix, *self.specification.command)
        self.process = ChildProcess(replace(self.specification, command=command))
        self.number += 1
        self.is_wanted = True

    def signal(self, number: int) -> None:
        """Send a signal to its process alone."""
        assert self.process is not None
        if self.process.status is None:
            os.kill(self.process.pid, number)

    @property
    def status(self) -> int | None:
        """Exit status of its last process, None while it runs."""
        assert self.process is not None
        return self.process.status

    @property
    def metrics_address(self) -> str | None:
        """host:port, None until the process serves it."""
        return targets.address(self.specification)

    @property
    def is_up(self) -> bool:
        """Whether its process serves its metrics, and a learner has read its checkpoint, which takes it longer."""
        if self.process is None or self.metrics_address is None:
            return False
        return self.role != "learner" or any(STARTED in line for line in self.process.last_lines(1_000))

    @property
    def end(self) -> str:
        """How its process ended, and what it said last."""
        assert self.process is not None
        assert self.process.status is not None
        lines = "\n".join(f"  | {line}" for line in self.process.last_lines())
        return f"{self.name} ended by itself ({describe_status(self.process.status)}):\n{lines}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where what the services write lies."""

    run: Path
    journal: Path
    scratch: Path
    logs: Path


class Services:
    """Gate, learner and actors, with keys, on TCP."""

    def __init__(
        self, places: Places, actors: int, lease_seconds: float, network: Network | None, clocks: Clocks | None
    ) -> None:
        """Without a network of its own everything is on 127.0.0.1."""
        self.places = places
        self._network = network
        self._clocks = clocks
        keys.make(places.scratch / "keys")
        addresses = self._addresses()
        gate = {
            "lease_seconds": lease_seconds,
            "transitions_bind": addresses.transitions,
            "control_bind": addresses.control,
            "batches_bind": addresses.batches,
            "learner_address": addresses.weights,
            "journal": places.journal,
        }
        learner = {
            "game": GAME,
            "steps": 10**9,
            "save_every": SAVE_EVERY_STEPS,
            "resume": "auto",
            "weights_bind": addresses.weights,
            "batches_address": addresses.batches,
            "run_dir": places.run,
        }
        actor = {"gate_address": addresses.control}
        self.gate = self._service("gate", "gate", "gate", GateSettings, gate)
        self.learner = self._service("learner", "learner", "learner", LearnerSettings, learner)
        self.actors = [
            self._service(f"actor-{index}", "actor", ACTOR_HOSTS[index % len(ACTOR_HOSTS)], ActorSettings, actor)
            for index in range(actors)
        ]
        self.by_name = {service.name: service for service in (self.gate, self.learner, *self.actors)}

    def start(self) -> None:
        """Start all of them; the calling thread must outlive them."""
        for service in self.by_name.values():
            service.start()

    def kill(self) -> None:
        """End whatever runs, at once."""
        for service in self.by_name.values():
            service.is_wanted = False
            if service.process is not None:
                service.process.kill()

    def _addresses(self) -> launch.Addresses:
        if self._network is None:
            return launch.make_addresses("tcp", self.places.scratch)
        gate, learner = self._network.address("gate"), self._network.address("learner")
        return launch.Addresses(
            transitions=f"tcp://{gate}:5555",
            control=f"tcp://{gate}:5556",
            batches=f"tcp://{gate}:5557",
            weights=f"tcp://{learner}:5558",
        )

    def _service(self, name: str, role: Role, host: str, kind: type[Settings], values: Mapping[str, Any]) -> Service:
        address_file = self.places.scratch / f"{name}.address"
        common: dict[str, Any] = {
            "keys": self.places.scratch / "keys",
            "metrics_port": 0,
            "metrics_address_file": address_file,
        }
        command: tuple[str, ...] = (sys.executable, "-m", f"headrace_{role}")
        environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        if self._network is not None:
            common["metrics_host"] = self._network.metrics_address(host)
            command = (*self._network.command(host), *command)
        if self._clocks is not None:
            environment |= self._clocks.environment(name)
        return Service(
            ProcessSpecification(
                name=name,
                role=role,
                command=command,
                log=self.places.logs / f"{name}.log",
                address_file=address_file,
                environment={**environment, **launch.environment(kind, {**common, **values})},
            )
        )
