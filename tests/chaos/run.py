"""A run under faults: strikes when the schedule says, samples all the while, and ends at the first broken promise."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from chaos import samples
from chaos.ending import end_in_order
from chaos.footprint import Footprint
from chaos.invariants import Judge, PromiseBrokenError
from chaos.machine import Machine
from chaos.schedule import Fault, Schedule
from chaos.services import Service, Services

SAMPLE_SECONDS = {"gate": 0.25, "learner": 0.25, "actor": 1.0}
LOOK_SECONDS = 0.25
WARM_UP_SECONDS = 180.0
WARM_UP_TRANSITIONS = 1_000
READERS = 32
"""Threads that wait for answers or disks."""


@dataclass(slots=True)
class Strike:
    """A fault as it came to be: seconds since the first could strike, and until more was trained after it was over.

    Of the latter those do not count in which another fault stopped training.
    """

    fault: Fault
    struck_at: float
    lifted_at: float | None = None
    recovery_seconds: float | None = None
    unhindered_before: float = 0.0


class Run:
    """One schedule on running services."""

    def __init__(
        self,
        schedule: Schedule,
        machine: Machine,
        services: Services,
        show: Callable[[str], None],
        footprint: Footprint,
    ) -> None:
        self.judge = Judge()
        self.footprint = footprint
        self.strikes: list[Strike] = []
        self._schedule = schedule
        self._machine = machine
        self._services = services
        self._show = show
        self._in_force: list[Fault] = []
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._is_warm = False
        self._began = time.monotonic()

    async def perform(self) -> None:
        """From the services' start to their good end; raises PromiseBrokenError, within groups."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(READERS))
        self._services.start()
        async with asyncio.TaskGroup() as watching:
            watchers = [watching.create_task(self._follow(service)) for service in self._services.by_name.values()]
            watchers.append(watching.create_task(self._look()))
            await self._warm_up()
            await self._strike_all()
            self._is_warm = False  # from here on the services end one by one
            await end_in_order(self._services, self.judge, self._schedule.lease_seconds, self._show)
            for watcher in watchers:
                watcher.cancel()

    async def _warm_up(self) -> None:
        deadline = time.monotonic() + WARM_UP_SECONDS
        while self.judge.books.get("trained", 0.0) < WARM_UP_TRANSITIONS:
            if time.monotonic() >= deadline:
                raise PromiseBrokenError(f"no training within {WARM_UP_SECONDS:.0f} s: {self.judge.books}")
            await asyncio.sleep(LOOK_SECONDS)
        self._is_warm = True
        self._began = time.monotonic()

    async def _strike_all(self) -> None:
        async with asyncio.TaskGroup() as striking:
            for fault in self._schedule.faults:
                await asyncio.sleep(max(0.0, self._began + fault.at - time.monotonic()))
                striking.create_task(self._strike(fault))
        await asyncio.sleep(max(0.0, self._began + self._schedule.seconds - time.monotonic()))

    async def _strike(self, fault: Fault) -> None:
        async with self._locks[self._machine.struck(fault)]:
            strike = Strike(fault, time.monotonic() - self._began)
            self.strikes.append(strike)
            self._in_force.append(fault)
            self._show(f"{len(self.strikes):4} {fault}")
            try:
                await self._machine.strike(fault, self._services)
            finally:
                self._in_force.remove(fault)
            strike.unhindered_before = self.judge.unhindered_seconds
            strike.lifted_at = time.monotonic() - self._began

    async def _follow(self, service: Service) -> None:
        while True:
            process, number, address = service.process, service.number, service.metrics_address
            made = self.judge.made
            metrics = await asyncio.to_thread(samples.read, address) if address is not None else None
            if metrics is not None and process is not None and number == service.number:
                self.footprint.add(
                    f"{service.name} #{number}",
                    time.monotonic() - process.started_at,
                    metrics["process_resident_memory_bytes"],
                    metrics["process_open_fds"],
                )
                if service.role == "actor":
                    self.judge.hear_actor(service.name, number, metrics)
                elif service.role == "learner":
                    self.judge.hear_learner(metrics)
                elif self.judge.hear_gate(metrics, made):
                    self._note_recovery()
            await asyncio.sleep(SAMPLE_SECONDS[service.role])

    def _note_recovery(self) -> None:
        for strike in self.strikes:
            if strike.lifted_at is not None and strike.recovery_seconds is None:
                strike.recovery_seconds = round(self.judge.unhindered_seconds - strike.unhindered_before, 2)

    async def _look(self) -> None:
        while True:
            for service in self._services.by_name.values():
                if service.is_wanted and service.status is not None:
                    raise PromiseBrokenError(service.end)
            self._machine.require_up()
            self.judge.look(time.monotonic(), not self._is_warm or self._is_hindered)
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def _is_hindered(self) -> bool:
        """Whether what is in force stops training: a fault that does by itself, or both halves of actors cut off."""
        cut = {fault.target.partition("-")[2] for fault in self._in_force if "partition" in fault.kind}
        return len(cut) > 1 or any(fault.stops_training for fault in self._in_force)
