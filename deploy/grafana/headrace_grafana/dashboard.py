"""A dashboard: rows of panels, laid out from left to right, and the variable `$run`."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_grafana.panels import ALARM_COLOR, DATA_SOURCE, Json, Panel

SCHEMA_VERSION = 41
"""Of the classic model; Grafana 12 reads it, and moves it on to its own by itself."""

COLUMNS = 24
RUNS = "label_values(headrace_build_info, run)"
TAG = "headrace"


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of Grafana's; `name` is its file's and the end of its address."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]

    def to_json(self) -> Json:
        """The whole file's content."""
        return {
            "uid": f"headrace-{self.name}",
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,  # a crosshair that all panels share
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "browser",
            "links": [_link_to_all()],
            "annotations": {"list": [_firing_alerts()]},
            "templating": {"list": [_run_variable()]},
            "panels": self._panels(),
        }

    def _panels(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            placed.append(_heading(row.title, len(placed) + 1, y))
            x, y = 0, y + 1
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y = 0, y + panel.height
                placed.append(panel.to_json(len(placed) + 1, x, y))
                x += panel.width
            y += row.panels[-1].height
        return placed


def _heading(title: str, identity: int, y: int) -> Json:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"id": identity, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}


def _run_variable() -> Json:
    """All runs at first, and among them what has no run yet: a gate or an actor that no learner has spoken to."""
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": DATA_SOURCE,
        "definition": RUNS,
        "query": {"qryType": 1, "query": RUNS, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,  # whenever the time range changes
        "regex": "",
        "sort": 1,  # by name
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "hide": 0,
    }


def _firing_alerts() -> Json:
    return {
        "name": "Firing alerts",
        "datasource": DATA_SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": ALARM_COLOR,
        "expr": 'ALERTS{alertstate="firing", alertname=~"Headrace.+"}',
        "step": "15s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{job}} {{instance}} {{run}}",
    }


def _link_to_all() -> Json:
    return {
        "type": "dashboards",
        "title": "Headrace",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
