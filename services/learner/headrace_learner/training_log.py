"""The curves of a run: TensorBoard events under CleanRL's names, and a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from headrace_learner.event_file import EventFile

METRICS_FILE = "metrics.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of metrics.csv; what there is no number for yet is empty.

    time: seconds since the epoch; frames = env_steps x frame_skip; return_mean_100: raw score
    lag_mean, lag_max: policy lag since the row before, in updates; None if nothing was trained
    logged: the algorithm's own quantities by name, which TensorBoard alone shows
    """

    time: float
    env_steps: int
    frames: int
    updates: int
    episodes: int
    return_mean_100: float | None
    loss: float | None
    q: float | None
    gradient_norm: float | None
    learning_rate: float | None
    epsilon: float | None
    lag_mean: float | None
    lag_max: int | None
    steps_per_second: float
    logged: Mapping[str, float] = field(default_factory=dict)


COLUMNS = [column.name for column in fields(Row) if column.name != "logged"]

_TAGS = {
    "loss": "losses/td_loss",
    "q": "losses/q_values",
    "gradient_norm": "losses/gradient_norm",
    "learning_rate": "charts/learning_rate",
    "epsilon": "charts/epsilon",
    "lag_mean": "charts/policy_lag",
    "steps_per_second": "charts/SPS",
}


class TrainingLog:
    """Writes both; a resumed run goes on in the same files, and what lies past its step is dropped."""

    def __init__(self, run_dir: Path, env_steps: int) -> None:
        """Open both; raises OSError, as every method may."""
        columns = drop_rows_after(run_dir / METRICS_FILE, env_steps)
        self._file = (run_dir / METRICS_FILE).open("a", newline="")
        self._events = EventFile(run_dir, purge_step=env_steps + 1 if env_steps else None)
        self._rows = csv.DictWriter(self._file, columns, restval="")
        if self._file.tell() == 0:
            self._rows.writeheader()

    def episode(self, score: float, length: int, env_steps: int) -> None:
        """A game ended."""
        self._events.scalar("charts/episodic_return", score, env_steps)
        self._events.scalar("charts/episodic_length", length, env_steps)

    def row(self, row: Row) -> None:
        """Write a row to both, and to the CSV alone if nothing was trained since the row before."""
        self._rows.writerow({name: _written(getattr(row, name)) for name in COLUMNS})
        self._file.flush()
        if row.lag_max is None:
            return
        for name, tag in _TAGS.items():
            value = getattr(row, name)
            if value is not None:
                self._events.scalar(tag, value, row.env_steps)
        for name, value in row.logged.items():
            self._events.scalar(f"losses/{name}", value, row.env_steps)
        self._events.flush()

    def close(self) -> None:
        """Write what is buffered."""
        try:
            self._file.close()
        finally:
            self._events.close()


def drop_rows_after(path: Path, env_steps: int) -> list[str]:
    """Remove the rows of a metrics.csv past a step, and a last line that was cut short; returns its columns.

    Rows of a release with other columns stay: what is new stands in further columns, empty for them.
    """
    if not path.exists():
        return COLUMNS
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    reader = csv.DictReader(io.StringIO((whole + end).decode(errors="replace"), newline=""))
    header = list(reader.fieldnames or COLUMNS)
    columns = header + [name for name in COLUMNS if name not in header]
    kept = [row for row in reader if len(row) == len(header) and None not in row.values() and _is_until(row, env_steps)]
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(kept)
    partial.replace(path)
    return columns


def _is_until(row: Mapping[str, str], env_steps: int) -> bool:
    """Whether a row is of a step up to this one; not, if it has none."""
    step = row.get("env_steps", "")
    return step.isdecimal() and int(step) <= env_steps


def _written(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.3f}"
