"""Waiting, never silently: what for goes into the log, a metric and /healthz, and a stop signal ends it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

from headrace_proto.errors import HeadraceError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.metrics import ActorMetrics
from headrace_proto.telemetry import Health

T = TypeVar("T")
NOTEWORTHY_SECONDS = 1.0


class Stopped(HeadraceError):  # noqa: N818 an event
    """A stop signal came."""


class Waiting:
    """Tries something until it succeeds."""

    def __init__(self, metrics: ActorMetrics, health: Health, stop: StopSignal, log: Logger) -> None:
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._log = log
        self._limit = RateLimit()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def until(self, waiting_for: str, attempt: Callable[[], T | None], detail: Callable[[], str]) -> T:
        """What `attempt` returns once it is not None; raises Stopped at a stop signal.

        `attempt` itself waits for a moment, well below a second. `detail` adds what is known to the log line.
        """
        began = last = time.monotonic()
        while True:
            self._health.beat(waiting_for)
            found = attempt()
            now = time.monotonic()
            self._metrics.blocked_seconds.labels(waiting_for).inc(now - last)
            self.seconds[waiting_for] += now - last
            last = now
            if found is not None:
                self._health.beat()
                return found
            if self._stop.is_set:
                raise Stopped(f"while waiting for {waiting_for}")
            if now - began >= NOTEWORTHY_SECONDS and self._limit.allows(waiting_for):
                self._log.info("waiting", waiting_for=waiting_for, detail=detail(), seconds=round(now - began, 1))
