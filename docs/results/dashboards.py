"""Draws Grafana's dashboards without Grafana, from the answers that Prometheus gives to the panels' own queries.

    PYTHONPATH=deploy/grafana python docs/results/dashboards.py 127.0.0.1:9090 RUN

writes a picture of each dashboard beside this file, from the first to the last minute of the run within a day.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from headrace_grafana import prometheus

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, MaxNLocator
from numpy.typing import NDArray

Json = dict[str, Any]

FOLDER = Path(__file__).parent
DASHBOARDS = FOLDER.parents[1] / "deploy" / "grafana" / "dashboards"

STEP_SECONDS = 15
DAY_SECONDS = 86400.0
COLUMNS = 24
COLUMN_INCHES, ROW_INCHES = 0.6, 0.33
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.58, 0.12, 0.3, 0.62
STAT_MARGIN_INCHES = 0.12
LEGEND_LINES = 8


class Line:
    """One series of a panel: its name in the legend, and its values at the times of the picture, NaN where none is."""

    def __init__(self, name: str, labels: Mapping[str, str], values: NDArray[np.float64]) -> None:
        self.name, self.labels, self.values = name, labels, values


class Picture:
    """One run, asked for and drawn."""

    def __init__(self, address: str, run: str, start: float, end: float) -> None:
        self._address, self._run, self._start, self._end = address, run, start, end
        self._times = np.arange(start, end + 1, STEP_SECONDS)
        self.minutes = (self._times - start) / 60

    def lines(self, panel: Json) -> list[Line]:
        """Every series of every query."""
        found = []
        for target in panel["targets"]:
            expression = prometheus.interpolate(target["expr"], self._run, STEP_SECONDS)
            for series in prometheus.query_range(self._address, expression, self._start, self._end, STEP_SECONDS):
                values = np.array([series.values.get(float(moment), math.nan) for moment in self._times])
                found.append(Line(_name(target["legendFormat"], series.labels), series.labels, values))
        return found

    def draw(self, dashboard: Json) -> Figure:
        """All panels at their places of the grid."""
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
        figure = plt.figure(figsize=(COLUMNS * COLUMN_INCHES, rows * ROW_INCHES), facecolor="white")
        draw = {"stat": self._stat, "timeseries": self._time_series, "heatmap": self._heatmap}
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            if panel["type"] == "row":
                height = 1 - (place["y"] + 0.7) / rows
                figure.text(0.008, height, panel["title"], fontsize=12, fontweight="bold")
                continue
            axes = _axes(figure, panel, rows)
            axes.set_title(_title(panel), fontsize=9, loc="left", pad=4)
            draw[panel["type"]](axes, panel)
        return figure

    def _stat(self, axes: Axes, panel: Json) -> None:
        axes.axis("off")
        for line in self.lines(panel):
            numbers = line.values[np.isfinite(line.values)]
            if not len(numbers):
                continue
            color = _threshold_color(panel, numbers[-1])
            axes.fill_between(self.minutes, line.values, color=color, alpha=0.15, linewidth=0)
            text = _formatter(panel)(numbers[-1]) + _suffix(panel)
            axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=16, color=color)

    def _time_series(self, axes: Axes, panel: Json) -> None:
        lines = self.lines(panel)
        defaults = panel["fieldConfig"]["defaults"]
        limits = [override["matcher"]["options"].strip("/") for override in panel["fieldConfig"]["overrides"]]
        bounds = [line for line in lines if any(re.search(limit, line.name) for limit in limits)]
        plain = [line for line in lines if line not in bounds]
        if defaults["custom"]["stacking"]["mode"] == "normal":
            values = [np.nan_to_num(line.values) for line in plain]
            axes.stackplot(self.minutes, values, labels=[line.name for line in plain], alpha=0.6)
        else:
            for line in plain:
                axes.plot(self.minutes, line.values, linewidth=1.1, label=line.name)
        for line in bounds:
            axes.plot(self.minutes, line.values, linewidth=1.1, linestyle="--", color="red", label=line.name)
        if defaults["custom"]["thresholdsStyle"]["mode"] != "off":
            for step in defaults["thresholds"]["steps"][1:]:
                axes.axhline(step["value"], color=step["color"], linewidth=0.9, linestyle=":")
        self._finish(axes, panel)
        axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
        shown = [line for line in lines if np.nanmax(np.abs(np.nan_to_num(line.values)), initial=0) > 0] or lines
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        names = [line.name for line in shown][:LEGEND_LINES]
        axes.legend(
            [handles[name] for name in names],
            names,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.1),
            ncols=2 if len(names) > 1 else 1,
            fontsize=6.5,
            frameon=False,
            labelspacing=0.2,
            handlelength=1.4,
        )

    def _heatmap(self, axes: Axes, panel: Json) -> None:
        """The buckets of a Prometheus histogram count all that is below their bound: a cell is a difference."""
        buckets = sorted(self.lines(panel), key=lambda line: float(line.labels["le"]))
        counts = np.diff([np.zeros_like(self.minutes), *(np.nan_to_num(line.values) for line in buckets)], axis=0)
        used = [row for row in range(len(buckets)) if counts[row].any()]
        if used:
            shown = slice(used[0], used[-1] + 1)
            cells = np.where(counts[shown] > 0, counts[shown], np.nan)
            axes.pcolormesh(self.minutes, np.arange(len(cells)), cells, cmap="Blues", shading="nearest", vmin=0)
            axes.set_yticks(range(len(cells)), [f"≤ {bucket.name}" for bucket in buckets[shown]])
        self._finish(axes, panel, numbers=False)

    def _finish(self, axes: Axes, panel: Json, numbers: bool = True) -> None:
        axes.set_xlim(self.minutes[0], self.minutes[-1])
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes:.0f} min"))
        if numbers:
            is_time = panel["fieldConfig"]["defaults"]["unit"] == "s"
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 3, 6, 10]) if is_time else MaxNLocator(5))
            axes.yaxis.set_major_formatter(_formatter(panel))
        axes.tick_params(labelsize=6.5, length=2, pad=1.5)
        axes.grid(alpha=0.25, linewidth=0.5)
        for spine in axes.spines.values():
            spine.set_color("#cccccc")


def _name(legend: str, labels: Mapping[str, str]) -> str:
    """The legend with each {{label}} replaced by its value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), legend).strip()


def _axes(figure: Figure, panel: Json, rows: int) -> Axes:
    """A panel's axes at its place of the grid; title, numbers and legend lie around them."""
    width, height = COLUMNS * COLUMN_INCHES, rows * ROW_INCHES
    is_stat, place = panel["type"] == "stat", panel["gridPos"]
    left_margin, bottom_margin = (STAT_MARGIN_INCHES,) * 2 if is_stat else (LEFT_INCHES, BOTTOM_INCHES)
    left = place["x"] * COLUMN_INCHES + left_margin
    bottom = height - (place["y"] + place["h"]) * ROW_INCHES + bottom_margin
    inner_width = place["w"] * COLUMN_INCHES - left_margin - RIGHT_INCHES
    inner_height = place["h"] * ROW_INCHES - TOP_INCHES - bottom_margin
    return figure.add_axes((left / width, bottom / height, inner_width / width, inner_height / height))


def _title(panel: Json) -> str:
    suffix = _suffix(panel).strip()
    return (
        panel["title"] if panel["type"] == "stat" or suffix in panel["title"].lower() else f"{panel['title']}, {suffix}"
    )


def _suffix(panel: Json) -> str:
    _, _, suffix = panel["fieldConfig"]["defaults"]["unit"].partition("suffix:")
    return f" {suffix}" if suffix else ""


def _formatter(panel: Json) -> Formatter:
    """Numbers of a panel's unit; what the unit adds as a suffix is left out."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if unit == "percentunit":
        return FuncFormatter(lambda value, _: f"{100 * value:.3g} %")
    if unit == "s":
        return FuncFormatter(lambda value, _: _seconds(value))
    if unit in ("bytes", "Bps"):
        return EngFormatter(unit="B" if unit == "bytes" else "B/s")
    if unit == "sci":
        return FuncFormatter(lambda value, _: f"{value:.2g}")
    return FuncFormatter(lambda value, _: f"{value:,.4g}" if abs(value) < 10000 else f"{value / 1000:,.4g} k")


def _seconds(value: float) -> str:
    if abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"


def _threshold_color(panel: Json, value: float) -> str:
    color = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return color


def lifetime(address: str, run: str) -> tuple[float, float]:
    """First and last time at which a learner of the run was scraped, within a day."""
    now = float(int(time.time()))
    expression = f'max(headrace_learner_env_steps{{run=~"{run}"}}) > 0'
    found = prometheus.query_range(address, expression, now - DAY_SECONDS, now, STEP_SECONDS)
    if not found:
        raise SystemExit(f"{address} has scraped no learner of run {run} within a day")
    return min(found[0].values), max(found[0].values)


def main(arguments: Sequence[str]) -> None:
    """Draw every dashboard."""
    address, run = arguments
    start, end = lifetime(address, run)
    picture = Picture(address, run, start, end)
    for source in sorted(DASHBOARDS.glob("*.json")):
        output = FOLDER / f"{source.stem}.png"
        picture.draw(json.loads(source.read_text())).savefig(output, dpi=85)
        print(f"{output}: {(end - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main(sys.argv[1:])
