"""The machine that a benchmark runs on, and what else it did meanwhile."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType

import psutil

from headrace_local import cores

CPU_INFO = Path("/proc/cpuinfo")
SHOWN_PACKAGES = ("torch", "numpy", "ale-py", "pyzmq")


@dataclass(frozen=True, slots=True)
class Load:
    """What the cores did while something ran.

    busy_cores: cores busy on average, with anything on the machine
    other_cores: of these, busy with work that was not the benchmark's
    averages: the kernel's load average of a minute, at the beginning and at the end
    """

    seconds: float
    cores: int
    busy_cores: float
    other_cores: float
    averages: tuple[float, float]

    def __str__(self) -> str:
        """One line for a table's foot."""
        return (
            f"{self.busy_cores:.2f} cores busy on average, {self.other_cores:.2f} of them with other work; "
            f"load average {self.averages[0]:.1f} at the beginning, {self.averages[1]:.1f} at the end"
        )


class LoadMeter:
    """Measures the load of a `with` block; `load` is there after it."""

    load: Load

    def __enter__(self) -> LoadMeter:
        self._started = time.monotonic()
        self._average = os.getloadavg()[0]
        self._busy, self._own = _busy_seconds(), own_cpu_seconds()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        busy, own = _busy_seconds() - self._busy, own_cpu_seconds() - self._own
        self.load = Load(
            seconds=seconds,
            cores=cores.usable_cores(),
            busy_cores=busy / seconds,
            other_cores=max(0.0, busy - own) / seconds,
            averages=(self._average, os.getloadavg()[0]),
        )


def own_cpu_seconds() -> float:
    """CPU time of this process and all its descendants, those that are gone and were waited for included."""
    this = psutil.Process()
    used = 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def describe() -> dict[str, str | int]:
    """Processor, cores that may be used, system and releases, as a figure's caption needs them."""
    releases = {name: metadata.version(name) for name in SHOWN_PACKAGES}
    return {
        "processor": _processor(),
        "cores": cores.usable_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        **releases,
    }


def caption() -> str:
    """The same in one line."""
    known = describe()
    releases = ", ".join(f"{name} {known[name]}" for name in ("python", *SHOWN_PACKAGES))
    return f"{known['cores']} cores of {known['processor']}, {known['system']}; {releases}"


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    # Time of a guest is in that of users; time that a hypervisor took is not idle and not ours: other work.
    return float(times.user + times.nice + times.system + times.irq + times.softirq + getattr(times, "steal", 0.0))


def _processor() -> str:
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
