"""The processes of a training run, started one by one and looked at from outside: what `headrace train` runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import psutil

from headrace_local import launch, targets
from headrace_local.processes import ChildProcess, ProcessSpecification
from headrace_local.scrape import Metrics, fetch_metrics
from headrace_local.train import fit_to_cores
from headrace_proto.arguments import parse
from headrace_proto.settings import TrainSettings

POLL_SECONDS = 0.1
STARTING_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of the services up to now, and memory of all actors together in bytes.

    Shared pages count for each process by its share of them (PSS).
    """

    gate: float
    learner: float
    actors: float
    actors_bytes: float


class LocalRun(AbstractContextManager["LocalRun"]):
    """Gate and learner, and as many actors as are asked for, until the end of the block."""

    def __init__(
        self,
        arguments: Sequence[str],
        most_actors: int,
        usable_cores: int,
        commands: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Start gate and learner.

        Args:
            arguments: of `headrace train`
            most_actors: how many may be asked for
            usable_cores: what the number of compute threads follows
            commands: what to run in place of a service, by the process's name; its environment is the same
        """
        chosen = parse(TrainSettings, [*arguments, f"--actors={most_actors}"], "headrace train")
        self.settings, _ = fit_to_cores(chosen, usable_cores)
        self.children: dict[str, ChildProcess] = {}
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(launch.short_temporary_folder()))
        found = launch.specifications(self.settings, most_actors, folder / "run", folder, None)
        self.processes: dict[str, ProcessSpecification] = {
            process.name: replace(process, command=(commands or {}).get(process.name, process.command))
            for process in found
        }
        self._start("gate")
        self._start("learner")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children.values():
            child.kill()
        self._stack.close()

    @property
    def actors(self) -> int:
        """How many have been started."""
        return sum(name.startswith("actor") for name in self.children)

    def metrics(self, name: str) -> Metrics:
        """Metrics of a process; empty while it does not answer."""
        return fetch_metrics(targets.address(self.processes[name]))

    def env_steps(self) -> float:
        """Transitions that were trained so far."""
        return self.metrics("learner").get("headrace_learner_env_steps", 0.0)

    def have_actors(self, count: int) -> None:
        """Start actors until there are so many, and wait until each plays and the learner trains."""
        for index in range(self.actors, count):
            self._start(f"actor-{index}")
        waiting = {f"actor-{index}" for index in range(count)}
        deadline = time.monotonic() + STARTING_SECONDS
        trained = self.env_steps()
        while waiting or self.env_steps() <= trained:
            waiting = {name for name in waiting if not self.metrics(name).get("headrace_actor_env_steps_total")}
            self._require_alive()
            if time.monotonic() > deadline:
                raise RuntimeError(f"after {STARTING_SECONDS:.0f} s {len(waiting)} of {count} actors do not play")
            time.sleep(POLL_SECONDS)

    def usage(self) -> Usage:
        """What the processes have used."""
        cpu, actors_bytes = dict.fromkeys(("gate", "learner", "actor"), 0.0), 0.0
        for name, child in self.children.items():
            process = psutil.Process(child.pid)
            times = process.cpu_times()
            role = self.processes[name].role
            cpu[role] += times.user + times.system
            if role == "actor":
                actors_bytes += process.memory_full_info().pss
        return Usage(cpu["gate"], cpu["learner"], cpu["actor"], actors_bytes)

    def _start(self, name: str) -> None:
        self.children[name] = ChildProcess(self.processes[name])

    def _require_alive(self) -> None:
        for name, child in self.children.items():
            if child.status is not None:
                raise RuntimeError(f"{name} has ended:\n" + "\n".join(child.last_lines()))
