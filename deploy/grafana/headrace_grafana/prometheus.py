"""Asks a Prometheus, at host:port, what Grafana would ask it for a panel."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCRAPE_SECONDS = 15
"""Least step of every query, `panels.LEAST_STEP`."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its labels, and its values by Unix time."""

    labels: Mapping[str, str]
    values: Mapping[float, float]


def interpolate(expression: str, run: str = ".*", step_seconds: int = SCRAPE_SECONDS) -> str:
    """The expression as Grafana sends it: every variable in it replaced.

    Args:
        expression: PromQL with Grafana's variables.
        run: a regular expression, `.*` for all runs.
        step_seconds: between two points of the picture, at least `SCRAPE_SECONDS`.
    """
    rate_interval = max(step_seconds + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)
    return expression.replace("$__rate_interval", f"{rate_interval}s").replace("$run", run)


def query(address: str, expression: str, time: float | None = None) -> list[Series]:
    """Every series' value at a time, the present unless given."""
    parameters = {"query": expression} | ({} if time is None else {"time": str(time)})
    return [
        Series(result["metric"], {float(result["value"][0]): float(result["value"][1])})
        for result in _ask(address, "query", parameters)
    ]


def query_range(address: str, expression: str, start: float, end: float, step_seconds: int) -> list[Series]:
    """Every series' values from start to end."""
    parameters = {"query": expression, "start": str(start), "end": str(end), "step": str(step_seconds)}
    return [
        Series(result["metric"], {float(time): float(value) for time, value in result["values"]})
        for result in _ask(address, "query_range", parameters)
    ]


def _ask(address: str, kind: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Raises ValueError with Prometheus's own words if it refuses the expression."""
    body = urllib.parse.urlencode(parameters).encode()
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{kind}", data=body, timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{json.load(error)['error']}: {parameters['query']}") from error
