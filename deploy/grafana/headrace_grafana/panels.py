"""Panels: what they ask Prometheus, how they look, and what a bad picture means.

Only fields of Grafana's classic dashboard model that have been stable for years are written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

Json = dict[str, Any]

DATA_SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}

LEAST_STEP = "15s"
"""Grafana makes $__rate_interval at least four times this: a minute, as long as that of the recording rules."""

BASE_COLOR, WARNING_COLOR, ALARM_COLOR = "green", "orange", "red"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and the name of each series it gives, in which {{label}} stands for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` upwards the picture has this colour."""

    value: float
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel(ABC):
    """What every panel has; `width` is in columns, of which a dashboard has 24."""

    kind: ClassVar[str]
    height: ClassVar[int]

    title: str
    shows: str
    bad: str
    remedy: str
    queries: tuple[Query, ...]
    unit: str
    width: int = 8
    least: float | None = None
    most: float | None = None
    below_thresholds: str = BASE_COLOR
    thresholds: tuple[Threshold, ...] = ()
    no_value: str = ""

    @property
    def description(self) -> str:
        """Markdown, shown at the panel's corner."""
        return f"{self.shows}\n\n**Bad:** {self.bad}\n\n**Do:** {self.remedy}"

    def to_json(self, identity: int, x: int, y: int) -> Json:
        """The panel at a place of the grid."""
        return {
            "id": identity,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATA_SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(number, query) for number, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
        }

    @abstractmethod
    def _options(self) -> Json:
        """Options of this kind of panel."""

    def _target(self, number: int, query: Query) -> Json:
        return {
            "refId": chr(ord("A") + number),
            "datasource": DATA_SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "format": "time_series",
            "interval": LEAST_STEP,
            "range": True,
            "instant": False,
            "editorMode": "code",
        }

    def _defaults(self) -> Json:
        steps: list[Json] = [{"color": self.below_thresholds, "value": None}]
        steps += [{"color": threshold.color, "value": threshold.value} for threshold in self.thresholds]
        optional = {"min": self.least, "max": self.most, "noValue": self.no_value or None}
        return {
            "unit": self.unit,
            "mappings": [],
            "thresholds": {"mode": "absolute", "steps": steps},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _overrides(self) -> list[Json]:
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """The newest value, large, in the colour of its threshold."""

    kind: ClassVar[str] = "stat"
    height: ClassVar[int] = 4

    width: int = 4

    def _defaults(self) -> Json:
        return {**Panel._defaults(self), "color": {"mode": "thresholds"}}

    def _options(self) -> Json:
        return {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSeries(Panel):
    """Lines over time. Series whose names begin with one of `limits` are drawn as dashed red lines, never stacked."""

    kind: ClassVar[str] = "timeseries"
    height: ClassVar[int] = 8

    stacked: bool = False
    limits: tuple[str, ...] = ()

    def _defaults(self) -> Json:
        custom = {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 30 if self.stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.thresholds else "off"},
        }
        return {**Panel._defaults(self), "color": {"mode": "palette-classic"}, "custom": custom}

    def _overrides(self) -> list[Json]:
        properties = [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": ALARM_COLOR}},
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.stacking", "value": {"mode": "none", "group": "limit"}},
        ]
        return [
            {"matcher": {"id": "byRegexp", "options": f"/^{limit}/"}, "properties": properties} for limit in self.limits
        ]

    def _options(self) -> Json:
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap(Panel):
    """A Prometheus histogram over time: its one query gives a series for each bucket, by `le`."""

    kind: ClassVar[str] = "heatmap"
    height: ClassVar[int] = 8

    width: int = 12

    def _target(self, number: int, query: Query) -> Json:
        return {**Panel._target(self, number, query), "format": "heatmap"}

    def _options(self) -> Json:
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Blues", "scale": "exponential", "exponent": 0.5, "steps": 64},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }
