"""What to run for a training run: every process's command, addresses and settings."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace_local.ports import free_ports
from headrace_local.processes import ProcessSpecification, Role
from headrace_proto.base_settings import Settings
from headrace_proto.combinations import has_effect
from headrace_proto.names import variable_name
from headrace_proto.settings import ActorSettings, GateSettings, LearnerSettings, TrainSettings

LONGEST_IPC_PATH = 107
"""Bytes of a Unix socket's path that the kernel takes."""

ACTOR_NICENESS = 10
"""Actors give way to the learner: all share the cores, and while it has a batch its update is what they wait for."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the four sockets of a run are."""

    transitions: str
    control: str
    batches: str
    weights: str


def make_addresses(transport: Literal["ipc", "tcp"], folder: Path) -> Addresses:
    """Sockets in a folder, or free ports of this machine."""
    names = ("transitions", "control", "batches", "weights")
    if transport == "ipc":
        return Addresses(**{name: f"ipc://{folder / name}" for name in names})
    return Addresses(**{name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, free_ports(4), strict=True)})


def short_temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for sockets whose paths are short enough for the kernel."""
    has_room = len(tempfile.gettempdir()) + len("/headrace-12345678/transitions") <= LONGEST_IPC_PATH
    return tempfile.TemporaryDirectory(prefix="headrace-", dir=None if has_room else "/tmp")  # noqa: S108


def specifications(
    settings: TrainSettings, actors: int, run_dir: Path, folder: Path, resume: Path | None
) -> list[ProcessSpecification]:
    """The processes of a run in the order in which they start."""
    addresses = make_addresses(settings.transport, folder)
    chosen = settings.model_dump()
    gate = {
        "capacity": settings.capacity,
        "straggler_updates": settings.straggler_updates,
        "lease_seconds": settings.lease_seconds,
        "transitions_bind": addresses.transitions,
        "control_bind": addresses.control,
        "batches_bind": addresses.batches,
        "learner_address": addresses.weights,
        # An account is of one start: whoever is left of an earlier one, killed with its processes, owes nothing here.
        "journal": folder / "gate.journal",
    }
    # Without those that do nothing, which the learner would take for asked: preset and algorithm bring the same again.
    learner = {
        name: chosen[name] for name in LearnerSettings.model_fields if name in chosen and has_effect(settings, name)
    } | {
        "weights_bind": addresses.weights,
        "batches_address": addresses.batches,
        "run_dir": run_dir,
        "resume": resume,
    }
    actor = {"gate_address": addresses.control}

    def process(name: str, role: Role, kind: type[Settings], values: Mapping[str, Any]) -> ProcessSpecification:
        address_file = folder / f"{name}.address"
        common = {"log_level": settings.log_level, "metrics_port": 0, "metrics_address_file": address_file}
        number = {"actor": name.removeprefix("actor-")} if role == "actor" else {}
        return ProcessSpecification(
            name=name,
            role=role,
            command=(sys.executable, "-m", f"headrace_{role}"),
            log=run_dir / "logs" / f"{name}.log",
            address_file=address_file,
            environment={
                "OMP_NUM_THREADS": str((settings.learner_threads or 1) if role == "learner" else 1),
                "PYTHONUNBUFFERED": "1",
                **environment(kind, {**common, **values}),
            },
            restart_environment={variable_name("resume"): "auto"} if role == "learner" else {},
            labels={"job": f"headrace-{role}", **number},
            niceness=ACTOR_NICENESS if role == "actor" else 0,
        )

    return [
        process("gate", "gate", GateSettings, gate),
        process("learner", "learner", LearnerSettings, learner),
        *(process(f"actor-{index}", "actor", ActorSettings, actor) for index in range(actors)),
    ]


def environment(settings: type[Settings], values: Mapping[str, Any]) -> dict[str, str]:
    """The values as environment variables of a service; None is left to the service's default."""
    unknown = set(values) - set(settings.model_fields)
    if unknown:
        raise ValueError(f"{settings.__name__} has no {', '.join(sorted(unknown))}")
    return {variable_name(name): _written(value) for name, value in values.items() if value is not None}


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
