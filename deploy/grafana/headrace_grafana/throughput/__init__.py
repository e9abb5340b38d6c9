"""The dashboard *Throughput*: how fast transitions flow, where they wait, and what becomes of them."""

from __future__ import annotations

from headrace_grafana.dashboard import Dashboard
from headrace_grafana.throughput.gate import GATE
from headrace_grafana.throughput.losses import LOSSES
from headrace_grafana.throughput.now import NOW
from headrace_grafana.throughput.rates import RATES
from headrace_grafana.throughput.staleness import STALENESS
from headrace_grafana.throughput.waiting import WAITING

THROUGHPUT = Dashboard(
    name="throughput",
    title="Headrace: Throughput",
    description="How fast transitions flow from the environments to the optimizer, where they wait, and what is lost.",
    rows=(NOW, RATES, GATE, WAITING, STALENESS, LOSSES),
)
