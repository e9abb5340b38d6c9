"""Every query of every panel, run against a real Prometheus."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import wait_until

from headrace_grafana import prometheus

DASHBOARDS = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query, and where it stands."""

    dashboard: str
    panel: str
    ref_id: str
    expression: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}: {self.ref_id}: {self.expression}"


def dashboards() -> dict[str, dict[str, Any]]:
    """Every committed dashboard, by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows' headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[PanelQuery]:
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield PanelQuery(name, panel["title"], target["refId"], target["expr"])


def without_data(address: str, run: str = ".*", time: float | None = None) -> list[str]:
    """The queries that give no number at `time`, the present unless given, for the runs that match.

    `address` is host:port of a Prometheus that has scraped a run with an evaluator.
    """
    return [str(asked) for asked in panel_queries() if not _gives_a_number(address, asked.expression, run, time)]


def wait_for_data(address: str, run: str = ".*", seconds: float = 180) -> None:
    """Until every query gives a number; fail with those that give none."""
    missing: list[str] = []

    def all_give_numbers() -> bool:
        missing[:] = without_data(address, run)
        return not missing

    try:
        wait_until(all_give_numbers, seconds)
    except AssertionError as error:
        raise AssertionError("\n".join([f"without data after {seconds:.0f} s:", *missing])) from error


def _gives_a_number(address: str, expression: str, run: str, time: float | None) -> bool:
    found = prometheus.query(address, prometheus.interpolate(expression, run), time)
    return any(math.isfinite(value) for series in found for value in series.values.values())
