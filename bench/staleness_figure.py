"""The trade that a user has to choose: how stale what is trained is, against steps/s, by capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ages import Observed
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headrace_local.figure_style import COLOURS, DASHES, DOTS_PER_INCH, MARKERS, tidy

INCHES = (11.0, 4.4)


@dataclass(frozen=True, slots=True)
class Curve:
    """One setting: what was observed, the bound of the lag in updates, and its throughput."""

    title: str
    observed: Observed
    bound: int
    steps_per_second: float


def save(path: Path, curves: Sequence[Curve]) -> None:
    """Draw lag, age and throughput, and write the picture; raises OSError."""
    figure = Figure(figsize=INCHES, layout="constrained")
    lag, age, rate = figure.subplots(1, 3)
    for index, curve in enumerate(curves):
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
        shares = np.linspace(0, 1, 201)
        lags = np.quantile(curve.observed.lags, shares, method="inverted_cdf")
        lag.plot(lags, shares, label=f"{curve.title}: bound {curve.bound}", drawstyle="steps-post", **style)
        lag.axvline(curve.bound, color=style["color"], linewidth=0.8, linestyle=":")
        age.plot(np.quantile(curve.observed.ages, shares), shares, **style)
        middle = float(np.median(curve.observed.ages))
        rate.plot([middle], [curve.steps_per_second], MARKERS[index % len(MARKERS)], color=style["color"], markersize=9)
    lag.set_xscale("symlog", linthresh=1)
    lag.set_xlabel("policy lag, updates (dotted: its bound)")
    lag.set_ylabel("share of transitions")
    age.set_xlabel("age when trained, seconds")
    age.set_xlim(0, _most([curve.observed.ages for curve in curves]))
    rate.set_xlabel("median age, seconds")
    rate.set_ylabel("steps/s")
    rate.margins(0.12)  # room for the markers
    rate.set_ylim(bottom=0)
    rate.set_xlim(left=0)
    for axes in (lag, age, rate):
        tidy(axes)
    figure.legend(loc="outside lower center", frameon=False, ncols=2, title="capacity and batch")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _most(ages: Sequence[NDArray[np.float64]]) -> float:
    """Where the axis of ages ends: few are older."""
    return max(float(np.quantile(each, 0.995)) for each in ages)
