"""The label `run` on everything that a service exports, and the metrics of its process beside its own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

RUN_LABEL = "run"


class LabelledByRun(Collector):
    """A registry's metrics and the process's, every sample labelled with the run, or without that label if unknown.

    Labels are added as metrics are read, because a service exports before it knows its run, and may change its run.
    """

    def __init__(self, registry: CollectorRegistry, run: Callable[[], str]) -> None:
        self._registry = registry
        self._process = ProcessCollector(registry=None)
        self._run = run

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now, for prometheus_client."""
        run = self._run()
        added = {RUN_LABEL: run} if run else {}
        for collector in (self._registry, self._process):
            for metric in collector.collect():
                labelled = copy.copy(metric)
                labelled.samples = [sample._replace(labels={**sample.labels, **added}) for sample in metric.samples]
                yield labelled
