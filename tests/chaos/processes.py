"""Faults of processes: killed, restarted, stopped for a while, slowed down, booted anew."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from chaos import clocks
from chaos.invariants import PromiseBrokenError
from chaos.schedule import Fault
from chaos.services import GOOD_END, Service
from headrace_local.processes import describe_status

END_SECONDS = 60.0
"""A service that SIGTERM or SIGKILL has not ended by then is broken. A disk that stands still may hold it up."""

START_SECONDS = 60.0
"""A service that is not up by then is broken. A learner that was also stopped at times took 45 s at a load of 24."""

LOOK_SECONDS = 0.1
SLOW_PERIOD_SECONDS = 0.4
"""In which a slow process is stopped for a share of the time."""


async def kill(service: Service, fault: Fault) -> None:
    """SIGKILL, and another process after a while."""
    await end(service, signal.SIGKILL)
    await asyncio.sleep(fault.seconds)
    await start(service)


async def restart(service: Service, fault: Fault) -> None:
    """SIGTERM, a good end, and another process after a while."""
    await end(service, signal.SIGTERM)
    await asyncio.sleep(fault.seconds)
    await start(service)


async def reboot(service: Service, fault: Fault) -> None:
    """SIGKILL, and at once another process, whose monotonic clock is `amount` seconds further."""
    await end(service, signal.SIGKILL)
    await start(service, clocks.since_another_boot(fault.amount))


async def pause(service: Service, fault: Fault) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    try:
        service.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
    finally:
        service.signal(signal.SIGCONT)


async def slow_down(service: Service, fault: Fault) -> None:
    """Stop it for a share `amount` of each moment."""
    finish = time.monotonic() + fault.seconds
    try:
        while time.monotonic() < finish:
            service.signal(signal.SIGSTOP)
            await asyncio.sleep(SLOW_PERIOD_SECONDS * fault.amount)
            service.signal(signal.SIGCONT)
            await asyncio.sleep(SLOW_PERIOD_SECONDS * (1.0 - fault.amount))
    finally:
        service.signal(signal.SIGCONT)


async def end(service: Service, number: signal.Signals) -> None:
    """Send the signal and see the process end as it should; raises PromiseBrokenError."""
    service.is_wanted = False
    service.signal(number)
    await _within(END_SECONDS, lambda: service.status is not None, f"{service.name} does not end after {number.name}")
    expected = -number if number == signal.SIGKILL else GOOD_END[service.role]
    assert service.status is not None
    if service.status != expected:
        raise PromiseBrokenError(f"{number.name}, expected {describe_status(expected)}: {service.end}")


async def start(service: Service, prefix: tuple[str, ...] = ()) -> None:
    """Start the next process and see it up; raises PromiseBrokenError."""
    service.start(prefix)
    await _within(
        START_SECONDS,
        lambda: service.is_up or service.status is not None,
        f"{service.name} does not come back",
    )


async def _within(seconds: float, condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise PromiseBrokenError(f"{otherwise} within {seconds:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)
