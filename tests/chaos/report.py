"""What a run has seen: a table for a person, JSON for a program."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.footprint import Growth
from chaos.invariants import ADVANCE_SECONDS, Judge
from chaos.run import Strike
from chaos.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Report:
    """A run that is over; `broken` says which promises it broke."""

    schedule: Schedule
    left_out: Mapping[str, str]
    strikes: list[Strike]
    judge: Judge
    growths: list[Growth]
    broken: list[str]
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S"))

    @property
    def recoveries(self) -> dict[str, list[float]]:
        """Seconds from each fault's end to the next training, without those of other faults that stop it, by kind."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for strike in self.strikes:
            if strike.recovery_seconds is not None:
                target = "actor" if strike.fault.target.startswith("actor-") else strike.fault.target
                found[f"{strike.fault.kind}: {target}"].append(strike.recovery_seconds)
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "date": self.began,
            "machine": machine(),
            "schedule": asdict(self.schedule),
            "left_out": dict(self.left_out),
            "broken": self.broken,
            "samples": self.judge.samples,
            "account": self.judge.books,
            "largest_alive": self.judge.largest_alive,
            "largest_policy_lag": self.judge.largest_lag,
            "longest_unhindered_pause_seconds": round(self.judge.longest_pause_seconds, 2),
            "strikes": [asdict(strike) for strike in self.strikes],
            "memory": [{**asdict(growth), "is_flat": growth.is_flat} for growth in self.growths],
        }

    def to_screen(self) -> RenderableType:
        """Tables of faults and memory, and what the account says."""
        return Group(self._faults(), self._memory(), *map(Text, self._lines()))

    def _faults(self) -> Table:
        table = Table(title=f"{len(self.strikes)} faults, seed {self.schedule.seed}", title_justify="left")
        table.add_column("fault")
        for column in ("times", "median s to the next training", "longest"):
            table.add_column(column, justify="right")
        for kind, seconds in self.recoveries.items():
            table.add_row(kind, str(len(seconds)), f"{median(seconds):.1f}", f"{max(seconds):.1f}")
        return table

    def _memory(self) -> Table:
        table = Table(title="processes that lived long enough for a comparison", title_justify="left")
        table.add_column("process")
        for column in ("seconds", "MB when warm", "MB at the end", "files when warm", "files at the end"):
            table.add_column(column, justify="right")
        for growth in self.growths:
            table.add_row(
                growth.process,
                f"{growth.seconds:.0f}",
                *(f"{size / 1e6:.1f}" for size in (growth.first_bytes, growth.last_bytes)),
                *(f"{files:.0f}" for files in (growth.first_files, growth.last_files)),
            )
        return table

    def _lines(self) -> list[str]:
        books = ", ".join(f"{name} {count:,.0f}" for name, count in self.judge.books.items())
        return [
            f"{self.judge.samples:,} samples; at most {self.judge.largest_alive:.0f} alive; policy lag at most "
            f"{self.judge.largest_lag:.0f}; at most {self.judge.longest_pause_seconds:.1f} s without training that no "
            f"fault explains (allowed: {ADVANCE_SECONDS:.0f})",
            f"account: {books}",
            *(f"left out here: {family}: {reason}" for family, reason in self.left_out.items()),
            *(f"BROKEN: {promise}" for promise in self.broken),
        ]


def machine() -> str:
    """Processor, cores and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}"
