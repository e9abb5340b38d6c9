"""Groups of runs beside each other: their mean curves, and compare.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace_local import confidence
from headrace_local.confidence import MeanCurve
from headrace_local.run_groups import RunGroup

XKind = Literal["env_steps", "minutes"]
COLUMNS = ("group", "seeds", "x_kind", "x", "mean", "low", "high", "n")


@dataclass(frozen=True, slots=True)
class ComparedGroup:
    """A group and its mean curves of the return."""

    group: RunGroup
    over_env_steps: MeanCurve
    over_minutes: MeanCurve

    def curves(self) -> dict[XKind, MeanCurve]:
        """By what they are over."""
        return {"env_steps": self.over_env_steps, "minutes": self.over_minutes}


def compared(group: RunGroup) -> ComparedGroup:
    """A group with its mean curves."""
    return ComparedGroup(
        group,
        confidence.mean_curve([(run.env_steps, run.returns) for run in group.runs]),
        confidence.mean_curve([(run.minutes, run.returns) for run in group.runs]),
    )


def write_csv(path: Path, groups: Iterable[ComparedGroup]) -> None:
    """Write every point of every mean curve as a row; low and high are empty for one seed. Raises OSError."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for compared_group in groups:
            group = compared_group.group
            seeds = " ".join(map(str, group.seeds))
            for kind, curve in compared_group.curves().items():
                for point in zip(curve.x, curve.mean, curve.low, curve.high, strict=True):
                    rows.writerow([group.label, seeds, kind, *map(_written, point), curve.seeds])


def _written(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"
