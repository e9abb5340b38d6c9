"""A histogram that takes a value many times at once, which prometheus_client's cannot."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class CountedHistogram(Collector):
    """A histogram of Prometheus; each value comes with how often it was seen."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._text = name, text
        self._bounds = [float(bound) for bound in buckets]
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float, times: int) -> None:
        """Count `value`, `times` over."""
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += times
            self._sum += value * times

    def collect(self) -> Iterator[Metric]:
        """The histogram as it is now, for prometheus_client."""
        with self._lock:
            total, counts = self._sum, list(accumulate(self._counts))
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, counts, strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=total)
