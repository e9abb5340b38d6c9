"""What the bound buys: the score that was reached against the policy lag, and the curves, by capacity."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator, ScalarFormatter

from headrace_local.figure_style import COLOURS, DASHES, DOTS_PER_INCH, MARKERS, tidy
from headrace_local.recorded_run import Floats

INCHES = (9.0, 4.2)


@dataclass(frozen=True, slots=True)
class Trained:
    """A run that has ended: its mean policy lag in updates, and its curve, float64 [rows] each."""

    capacity: int
    lag: float
    env_steps: Floats
    returns: Floats

    @property
    def score(self) -> float:
        """The return of the last 100 games at the end."""
        return float(self.returns[-1])


def save(path: Path, runs: Sequence[Trained]) -> None:
    """Draw both, and write the picture; raises OSError."""
    figure = Figure(figsize=INCHES, layout="constrained")
    scores, curves = figure.subplots(1, 2)
    capacities = sorted({run.capacity for run in runs})
    middles = []
    for index, capacity in enumerate(capacities):
        seeds = [run for run in runs if run.capacity == capacity]
        colour = COLOURS[index % len(COLOURS)]
        lags, returns = [run.lag for run in seeds], [run.score for run in seeds]
        middles.append((statistics.median(lags), statistics.median(returns)))
        scores.plot(lags, returns, MARKERS[index % len(MARKERS)], color=colour, alpha=0.5, label=f"{capacity:,}")
        for run in seeds:
            curves.plot(run.env_steps, run.returns, DASHES[index % len(DASHES)], color=colour, linewidth=0.9, alpha=0.8)
    scores.plot(*zip(*middles, strict=True), "-_", color="black", markersize=18, label="median")
    scores.set_xscale("log")
    scores.set_xticks([lag for lag, _ in middles])
    scores.xaxis.set_major_formatter(ScalarFormatter())
    scores.xaxis.set_minor_locator(NullLocator())
    scores.set_xlabel("policy lag, updates: mean over a run, a point a seed")
    scores.set_ylabel("return of the last 100 games")
    curves.set_xlabel("env steps")
    curves.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in (scores, curves):
        tidy(axes)
    figure.legend(
        *scores.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=6, title="capacity"
    )
    figure.savefig(path, dpi=DOTS_PER_INCH)
