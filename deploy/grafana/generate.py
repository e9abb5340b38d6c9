"""Writes Grafana's dashboards: `python deploy/grafana/generate.py`."""

from __future__ import annotations

import json
from pathlib import Path

from headrace_grafana.dashboard import Dashboard
from headrace_grafana.learning import LEARNING
from headrace_grafana.throughput import THROUGHPUT

DASHBOARDS = (THROUGHPUT, LEARNING)
FOLDER = Path(__file__).parent / "dashboards"


def text_of(dashboard: Dashboard) -> str:
    """The file's text."""
    return json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every dashboard to its file."""
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.name}.json"
        path.write_text(text_of(dashboard))
        print(path)


if __name__ == "__main__":
    main()
