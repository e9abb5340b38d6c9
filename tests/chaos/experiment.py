"""One run from a schedule to its report, on a machine that is afterwards as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.footprint import COMPARED_SECONDS, Footprint
from chaos.invariants import PromiseBrokenError
from chaos.machine import Machine, Permitted
from chaos.report import Report
from chaos.run import Run
from chaos.schedule import Schedule
from chaos.services import Services


def perform(
    schedule: Schedule,
    permitted: Permitted,
    folder: Path,
    show: Callable[[str], None],
    compared_seconds: float = COMPARED_SECONDS,
) -> Report:
    """Run a schedule in an empty folder, where logs and checkpoints stay; the main thread alone may call it.

    compared_seconds: of each process's memory, when it is warm and at its end
    """
    machine = Machine(permitted, folder)
    try:
        services = Services(machine.places, schedule.actors, schedule.lease_seconds, machine.network, machine.clocks)
        run = Run(schedule, machine, services, show, Footprint(compared_seconds))
        broken: list[str] = []
        try:
            asyncio.run(run.perform())
        except* PromiseBrokenError as group:
            broken += [str(error) for error in _leaves(group)]
        finally:
            services.kill()
    finally:
        machine.close()
    growths = run.footprint.growths()
    broken += [f"{growth.process} grows: {growth}" for growth in growths if not growth.is_flat]
    return Report(schedule, permitted.missing, run.strikes, run.judge, growths, broken)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
