"""How full the gate is, and where in it transitions wait."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import quantile, summed
from headrace_grafana.panels import Query, TimeSeries
from headrace_grafana.units import COUNT, SECONDS

GATE = Row(
    "The gate",
    (
        TimeSeries(
            title="Gate fill against capacity",
            shows="Transitions alive, that is promised to an actor and not yet trained, rejected or lost.",
            bad="Above the capacity: the bound is broken. At it while the learner's time is limited by it: too small.",
            remedy="Raise HEADRACE_CAPACITY to what the gate's log names, if the learner's time shows that limit.",
            queries=(
                Query(summed("headrace_gate_alive_transitions"), "alive {{run}}"),
                Query(summed("headrace_gate_capacity_transitions"), "capacity {{run}}"),
            ),
            unit=COUNT,
            least=0,
            limits=("capacity",),
        ),
        TimeSeries(
            title="Where transitions wait",
            shows="Granted: promised to an actor and not yet here. Queued: here and not yet sent. "
            "Untrained: sent to the learner.",
            bad="Nearly all granted, for long: actors are slow, or dead and still within their lease. "
            "Nearly all queued or untrained: the learner is slow or away.",
            remedy="Granted: look at each actor. Queued or untrained: look at the learner's time.",
            queries=tuple(
                Query(summed(f"headrace_gate_{place}_transitions"), f"{place} {{{{run}}}}")
                for place in ("granted", "queued", "untrained")
            ),
            unit=COUNT,
            least=0,
            stacked=True,
        ),
        TimeSeries(
            title="Time in the gate's queue",
            shows="From a rollout's arrival to its delivery, over 5 minutes.",
            bad="It grows without end: the learner takes nothing.",
            remedy="Look at the learner: is it up, does it update, can it reach the gate?",
            queries=tuple(
                Query(quantile(share, "headrace_gate_queue_wait_seconds"), f"{name} {{{{run}}}}")
                for share, name in ((0.5, "median"), (0.99, "99 %"))
            ),
            unit=SECONDS,
            least=0,
        ),
    ),
)
