"""Metrics that every scrape sees all of one moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector


class OneMoment(Collector):
    """A registry within another. What its metrics are changed to under `changing`, a scrape sees whole or not at all.

    Each metric of prometheus_client has a lock of its own, so a scrape may otherwise come between two of them.
    """

    def __init__(self, outer: CollectorRegistry) -> None:
        self.registry = CollectorRegistry()
        self.changing = threading.Lock()
        outer.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now, for prometheus_client."""
        with self.changing:
            return iter(list(self.registry.collect()))
