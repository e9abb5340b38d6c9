"""structlog for every service: readable on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from typing import TextIO

import structlog

Logger = structlog.stdlib.BoundLogger


class LineWriter:
    """Writes each line at once, and drops those that cannot be written: no log line is worth a service.

    A full disk and a reader that is gone are no reason to stop. `dropped` says how many lines are missing before the
    next one; `note_dropped` puts it into that line.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None where the process has no standard output."""
        self._stream = stream
        self._lock = threading.Lock()
        self._begins_anew = True
        self.dropped = 0

    def msg(self, line: str) -> None:
        """Write one line, whose end is added."""
        with self._lock:
            try:
                self._write(line if self._begins_anew else f"\n{line}")
                self.dropped = 0
            except (OSError, ValueError):  # ValueError: the stream is closed
                self.dropped += 1

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = err = msg

    def _write(self, line: str) -> None:
        if self._stream is None:
            raise OSError("no standard output")
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:  # in memory
            print(line, file=self._stream, flush=True)
            return
        # Past the stream's buffer, which would keep what fails, and fail again at the process's end.
        left = f"{line}\n".encode(errors="backslashreplace")
        while left:
            written = os.write(descriptor, left)
            self._begins_anew = left[written - 1 : written] == b"\n"
            left = left[written:]


def note_dropped(lines: LineWriter, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A structlog processor: how many lines before this one could not be written."""
    if lines.dropped:
        event["lines_dropped"] = lines.dropped
    return event


def configure(service: str, level: str = "info") -> Logger:
    """Set up logging to standard output and return a logger that names the service."""
    lines = LineWriter(sys.stdout)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            note_dropped,
            *(_for_people() if sys.stdout is not None and sys.stdout.isatty() else _for_programs()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger(service=service)
    return logger


def _for_people() -> list[structlog.typing.Processor]:
    # It formats tracebacks by itself, and takes them only as they are.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_programs() -> list[structlog.typing.Processor]:
    return [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]


class RateLimit:
    """At most one log line a period for each key; the counters keep the truth."""

    def __init__(self, period_seconds: float = 10.0) -> None:
        self._period = period_seconds
        self._last: dict[str, float] = {}

    def allows(self, key: str) -> bool:
        """Whether a line for `key` may be written now."""
        now = time.monotonic()
        if now - self._last.get(key, -self._period) < self._period:
            return False
        self._last[key] = now
        return True
