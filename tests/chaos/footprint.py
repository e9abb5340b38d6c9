"""Memory and open files of every process over the run, and whether they are flat. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

WARM_UP_SECONDS = 30.0
"""Of a process's life that do not count: it imports, fills its buffers and runs its first updates."""

COMPARED_SECONDS = 30.0
"""At the beginning and at the end of what counts; what lived for less than both is not judged."""

ALLOWED_GROWTH = 0.10
ALLOWED_BYTES = 12 << 20
ALLOWED_FILES = 16
"""Sockets that are just being opened and closed."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One process, from the time when it was warm to its end: medians of the compared time."""

    process: str
    seconds: float
    first_bytes: float
    last_bytes: float
    first_files: float
    last_files: float

    @property
    def is_flat(self) -> bool:
        """Whether it grew no more than is allowed."""
        return (
            self.last_bytes <= self.first_bytes * (1 + ALLOWED_GROWTH) + ALLOWED_BYTES
            and self.last_files <= self.first_files + ALLOWED_FILES
        )


class Footprint:
    """Samples by process: age in seconds, resident bytes, open files."""

    def __init__(self, compared_seconds: float = COMPARED_SECONDS) -> None:
        self._compared_seconds = compared_seconds
        self._samples: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, process: str, age_seconds: float, resident_bytes: float, open_files: float) -> None:
        """A sample of a process."""
        self._samples[process].append((age_seconds, resident_bytes, open_files))

    def growths(self) -> list[Growth]:
        """Every process that lived long enough to compare its beginning with its end."""
        return [
            growth
            for process, samples in self._samples.items()
            if (growth := _growth(process, samples, self._compared_seconds)) is not None
        ]


def _growth(process: str, samples: list[tuple[float, float, float]], compared_seconds: float) -> Growth | None:
    seconds = samples[-1][0]
    if seconds < WARM_UP_SECONDS + 2 * compared_seconds:
        return None
    first = [sample for sample in samples if 0 <= sample[0] - WARM_UP_SECONDS <= compared_seconds]
    last = [sample for sample in samples if seconds - sample[0] <= compared_seconds]
    if not first:  # it did not answer
        return None
    return Growth(
        process,
        seconds,
        median(sample[1] for sample in first),
        median(sample[1] for sample in last),
        median(sample[2] for sample in first),
        median(sample[2] for sample in last),
    )
