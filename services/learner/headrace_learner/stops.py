"""How often a run has stopped by a loss that is not finite, counted in its folder.

A process that stops so is gone before anyone can read its metrics; its successor exports the count.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from headrace_proto import whole_file
from headrace_proto.errors import NonFiniteError
from headrace_proto.logs import Logger
from headrace_proto.metrics import LearnerMetrics

STOPS_FILE = "stops.json"
COUNT = "non_finite"


def count_earlier(run_dir: Path, metrics: LearnerMetrics, log: Logger) -> None:
    """Export the stops of earlier processes of the run."""
    metrics.non_finite_stops.inc(_read(run_dir, log))


@contextlib.contextmanager
def counted(run_dir: Path, log: Logger) -> Iterator[None]:
    """Add one to the run's stops if the body ends with NonFiniteError, which goes on its way whatever the disk does."""
    try:
        yield
    except NonFiniteError:
        _write(run_dir, _read(run_dir, log) + 1, log)
        raise


def _read(run_dir: Path, log: Logger) -> int:
    path = run_dir / STOPS_FILE
    try:
        count = json.loads(path.read_text())[COUNT]
        if type(count) is not int or count < 0:
            raise ValueError(f"{COUNT} is {count!r}")
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("stops_unreadable", path=str(path), error=repr(error), action="counting from 0")
        return 0
    return count


def _write(run_dir: Path, count: int, log: Logger) -> None:
    path = run_dir / STOPS_FILE
    try:
        whole_file.write(path, json.dumps({COUNT: count}) + "\n")
    except OSError as error:
        log.error("stop_not_counted", path=str(path), error=str(error))
