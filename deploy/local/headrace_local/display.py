"""What `headrace train` shows: a live panel on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headrace_local.scrape import Snapshot
from headrace_proto import logs

PROGRESS_PERIOD_SECONDS = 5.0


class Display(Protocol):
    """Shows events as they happen and the run as it goes."""

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Something happened: `message` is for a person, `kind` and `fields` for a program."""

    def progress(self, snapshot: Snapshot) -> None:
        """The run as it is now; called often."""

    def close(self) -> None:
        """Leave the screen as it should stay."""


def for_output() -> Display:
    """The panel if standard output is a terminal, JSON lines if not; neither raises OSError."""
    if sys.stdout is not None and sys.stdout.isatty():
        with suppress(OSError):
            return SteadyDisplay(TerminalDisplay(Console()))
    return JsonDisplay()


class SteadyDisplay:
    """A display that a run outlives: what a closed terminal or a full disk does not take is not shown."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._has_failed = False

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Show it if that is possible."""
        self._try(lambda: self._display.event(kind, message, **fields))

    def progress(self, snapshot: Snapshot) -> None:
        """Show it if that is possible."""
        self._try(lambda: self._display.progress(snapshot))

    def close(self) -> None:
        """Leave the screen as it should stay, and nothing to be written at the process's end if that fails."""
        self._try(self._display.close)
        if self._has_failed:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(nowhere, stream.fileno())

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except OSError as error:
            if not self._has_failed:
                with suppress(OSError):
                    print(f"note: this run is not shown any more: {error}; it goes on", file=sys.stderr, flush=True)
            self._has_failed = True


class JsonDisplay:
    """One JSON object a line: each event, and the progress every five seconds."""

    def __init__(self) -> None:
        self._log = logs.configure("headrace")
        self._shown_at = time.monotonic()

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Print it at once."""
        self._log.info(kind, message=message, **fields)

    def progress(self, snapshot: Snapshot) -> None:
        """Print it if the last one is old enough."""
        if time.monotonic() - self._shown_at >= PROGRESS_PERIOD_SECONDS:
            self._shown_at = time.monotonic()
            self._log.info("progress", **asdict(snapshot))

    def close(self) -> None:
        """Every line has been written already."""


class TerminalDisplay:
    """A panel that is drawn anew twice a second, events above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=2, transient=False)
        self._live.start()

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Print it above the panel."""
        self._live.console.print(Text(f"{time.strftime('%H:%M:%S')} {message}"))
        for line in fields.get("log", ()):
            self._live.console.print(Text(f"         | {line}", style="dim"))

    def progress(self, snapshot: Snapshot) -> None:
        """Draw it at the next refresh."""
        self._live.update(panel(snapshot))

    def close(self) -> None:
        """Leave the last panel and give the cursor back."""
        self._live.stop()


def panel(run: Snapshot) -> Group:
    """The progress bar and the table under it."""
    bar = Table.grid(padding=(0, 1))
    share = min(1.0, run.env_steps / run.steps)
    left = "-" if run.seconds_left is None else str(timedelta(seconds=round(run.seconds_left)))
    bar.add_row(
        ProgressBar(total=run.steps, completed=min(run.env_steps, run.steps), width=40),
        f"{share:.1%}",
        f"{run.env_steps:,} of {run.steps:,} steps",
        f"{left} left",
    )
    table = Table.grid(padding=(0, 3))
    rows = _rows(run)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        table.add_row(Text(first[0], style="dim"), first[1], Text(second[0], style="dim"), second[1])
    return Group(bar, table)


def _rows(run: Snapshot) -> list[tuple[str, str]]:
    lag = f"mean {_number(run.policy_lag_mean)}, max {_number(run.policy_lag_max)}"
    return [
        ("env steps/s", _number(run.steps_per_second)),
        ("frames/s", _number(run.frames_per_second)),
        ("return, last 100 games", _number(run.return_mean_100)),
        ("frames", _number(run.frames)),
        ("gate fill", f"{_number(run.alive)} of {_number(run.capacity)}"),
        ("actors", _number(run.actors)),
        ("policy lag, updates", f"{lag}, bound {_number(run.policy_lag_bound)}"),
        ("updates", _number(run.updates)),
        ("loss", "-" if run.loss is None else f"{run.loss:.3g}"),
        ("waiting for", run.waiting_for or "nothing"),
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
