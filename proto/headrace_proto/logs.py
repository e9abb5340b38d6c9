"""structlog for every service: readable on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
import time

import structlog

Logger = structlog.stdlib.BoundLogger


def configure(service: str, level: str = "info") -> Logger:
    """Set up logging to standard output and return a logger that names the service."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stdout.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger(service=service)
    return logger


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
