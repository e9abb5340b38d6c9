"""The policy lag and its bound."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import largest, quantile
from headrace_grafana.panels import Heatmap, Query, TimeSeries
from headrace_grafana.units import COUNT, UPDATES

STALENESS = Row(
    "Staleness",
    (
        Heatmap(
            title="Policy lag of trained transitions",
            shows="Updates between the weights that chose an action and the update that trains it: "
            "how many transitions, by lag.",
            bad="The dark band moves up: what is trained was played with older weights.",
            remedy="Lower HEADRACE_CAPACITY or HEADRACE_PUBLISH_EVERY; look for slow actors.",
            queries=(
                Query(
                    'sum by (le) (increase(headrace_learner_policy_lag_updates_bucket{run=~"$run"}[$__rate_interval]))',
                    "{{le}}",
                ),
            ),
            unit=COUNT,
        ),
        TimeSeries(
            title="Policy lag against its bound",
            shows="Median and 99th percentile over 5 minutes, each exact to its bucket, the largest of this learner, "
            "and what it can be at most.",
            bad="The largest above the bound: a guarantee is broken. The 99th percentile near the bound: stragglers.",
            remedy="Above: keep the logs of gate and learner and report a defect. Near: look at each actor's rate.",
            queries=(
                Query(quantile(0.5, "headrace_learner_policy_lag_updates"), "median {{run}}"),
                Query('run:headrace_learner_policy_lag_updates:p99_rate5m{run=~"$run"}', "99 % {{run}}"),
                Query(largest("headrace_learner_policy_lag_max_updates"), "largest {{run}}"),
                Query(largest("headrace_learner_policy_lag_bound_updates"), "bound {{run}}"),
            ),
            unit=UPDATES,
            width=12,
            least=0,
            limits=("bound",),
        ),
    ),
)
