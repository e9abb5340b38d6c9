"""The mean of several seeds' curves and its confidence, by Student's t. Pure.

With the three to five seeds that runs of hours allow, the percentiles of a bootstrap lie within the seeds themselves
and cover far less than they claim to; Student's t covers what it claims if the seeds' returns are near to normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
POINTS = 200
"""Points of the grid on which seeds are averaged."""


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """Mean over seeds and its confidence interval, float64 [points] each; `low` and `high` are NaN for one seed.

    x begins where the last seed begins and ends where the first one ends: a mean over fewer of them would jump there.
    It has no point where seeds have no x in common.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    seeds: int


def mean_curve(curves: Sequence[tuple[Floats, Floats]], points: int = POINTS) -> MeanCurve:
    """The mean of curves, each x [rows], not falling, and y [rows], linear between rows."""
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(start, end, points if start < end else int(start == end))
    values = np.stack([np.interp(grid, x, y) for x, y in curves])
    mean, half = values.mean(axis=0), half_width(values)
    return MeanCurve(grid, mean, mean - half, mean + half, len(curves))


def half_width(values: Floats) -> Floats:
    """Half of the confidence interval of the mean over the first axis, NaN for one value: t s / sqrt(n)."""
    seeds = len(values)
    if seeds < 2:
        return np.full(values.shape[1:], np.nan)
    deviation: Floats = values.std(axis=0, ddof=1)
    return student_t(seeds - 1) * deviation / math.sqrt(seeds)


def student_t(degrees: int, level: float = LEVEL) -> float:
    """The t that |T| exceeds with probability 1 - level, for T of Student's distribution; by bisection."""
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """P(|T| <= t) for whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for index in range(odd, degrees - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (index + 1) / (index + 2)
    series = math.sin(angle) * total
    return 2 / math.pi * (angle + series) if odd else series
