"""What a soak has seen, kept as one JSON object a line, and what it amounts to. Pure but for the file."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WARM_UP_SECONDS = 300.0
"""Of each piece, in which its processes grow to what they need."""

MOST_GROWTH = {"MiB": (1.05, 16.0), "files": (1.0, 8.0)}
"""From the first span to the last, as a factor and on top of it; more is drift."""

LEAST_THROUGHPUT = 0.9

SPAN_SECONDS = 900.0
"""That are compared: the first after the warm-up of the first piece, and the last."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a run: quantities by name; `seconds` is since the beginning of its piece."""

    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def piece(self) -> int:
        """Which of the pieces, from 1."""
        return round(self.values["piece"])

    @property
    def process_names(self) -> list[str]:
        """`learner MiB`, `learner files`, and so on."""
        return [name for name in self.values if name.endswith((" MiB", " files"))]


def read(path: Path) -> list[Sample]:
    """All that was seen; empty where nothing was."""
    return [Sample(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, sample: Sample) -> None:
    """Keep one more."""
    with path.open("a") as file:
        file.write(json.dumps(sample.values) + "\n")


def pieces(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples of each piece."""
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.piece, []).append(sample)
    return list(found.values())


def duration(samples: Sequence[Sample]) -> float:
    """Seconds that were watched, over all pieces."""
    return sum(piece[-1]["seconds"] for piece in pieces(samples))


def summary(samples: Sequence[Sample]) -> dict[str, float]:
    """Each quantity in the first span after the warm-up, and in the last span, of which warm-ups are left out."""
    warm = [sample for sample in samples if sample["seconds"] >= WARM_UP_SECONDS] or list(samples)
    first, last = pieces(warm)[0], pieces(warm)[-1]
    begin = [sample for sample in first if sample["seconds"] <= first[0]["seconds"] + SPAN_SECONDS]
    end = [sample for sample in last if sample["seconds"] >= last[-1]["seconds"] - SPAN_SECONDS]
    told = {
        "hours": duration(samples) / 3600,
        "pieces": float(len(pieces(samples))),
        "env_steps": samples[-1]["env_steps"],
        "lag_max": max(sample["lag_max"] for sample in samples),
        "lag_bound": max(sample["lag_bound"] for sample in samples),
    }
    for span, seen in (("begin", begin), ("end", end)):
        told[f"env steps/s, {span}"] = rate(seen, "env_steps", "seconds")
        told[f"lag in updates, mean, {span}"] = rate(seen, "lag_sum", "lag_count")
        told[f"transitions alive, {span}"] = statistics.median(sample["alive"] for sample in seen)
        for name in seen[0].process_names:
            told[f"{name}, {span}"] = statistics.median(sample.values.get(name, 0.0) for sample in seen)
    return told


def compared(names: Iterable[str]) -> list[str]:
    """The quantities of a summary that have a first and a last span."""
    return [name.removesuffix(", begin") for name in names if name.endswith(", begin")]


def drifted(told: Mapping[str, float]) -> list[str]:
    """What a summary says has grown, or fallen, more than noise does."""
    found = [] if told["lag_max"] <= told["lag_bound"] else ["lag above its bound"]
    if told["env steps/s, end"] < LEAST_THROUGHPUT * told["env steps/s, begin"]:
        found.append("env steps/s")
    for name in compared(told):
        factor, more = MOST_GROWTH.get(name.rpartition(" ")[2], (math.inf, 0.0))
        if told[f"{name}, end"] > factor * told[f"{name}, begin"] + more:
            found.append(name)
    return found


def rate(seen: Sequence[Sample], grows: str, by: str) -> float:
    """How much a quantity grows for one of another; 0 where the other stands."""
    by_how_much = seen[-1][by] - seen[0][by]
    return (seen[-1][grows] - seen[0][grows]) / by_how_much if by_how_much else 0.0
