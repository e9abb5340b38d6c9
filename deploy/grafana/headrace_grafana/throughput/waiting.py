"""Who waits, and for what."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import quantile
from headrace_grafana.panels import WARNING_COLOR, Query, Threshold, TimeSeries
from headrace_grafana.units import SECONDS, SHARE

WAITING = Row(
    "Who waits",
    (
        TimeSeries(
            title="Blocked share of actors",
            shows="Share of their time that actors wait, on average, by what for. Credit is what paces them: "
            "nearly all of the time is normal with many actors.",
            bad="Weights or gate above a few percent for longer than a restart takes. Above 50 %, the dashed line, "
            "the alert HeadraceActorsBlocked fires. Credit above it is no harm.",
            remedy="Weights: can actors reach the learner's port 5558? Gate: is it up, and does it accept their keys?",
            queries=(
                Query(
                    'run_waiting_for:headrace_actor_blocked_seconds:avg_rate5m{run=~"$run"}', "{{waiting_for}} {{run}}"
                ),
            ),
            unit=SHARE,
            least=0,
            most=1,
            thresholds=(Threshold(0.5, WARNING_COLOR),),
        ),
        TimeSeries(
            title="The learner's time",
            shows="Share of its time that the learner waits for a batch, and that it updates. Limited by capacity: "
            "it waits while actors wait for credit.",
            bad="Waiting above 80 %, the dashed line: it is starved, see the alert HeadraceLearnerStarved. "
            "Limited by capacity above a few percent: the gate is too small for this learner.",
            remedy="Starved: add actors. Limited: raise HEADRACE_CAPACITY, which the policy lag's bound grows with.",
            queries=(
                Query('run:headrace_learner_batch_wait_seconds:rate5m{run=~"$run"}', "waits for a batch {{run}}"),
                Query('sum by (run) (rate(headrace_learner_update_seconds_sum{run=~"$run"}[5m]))', "updates {{run}}"),
                Query('run:headrace_gate_capacity_limited_seconds:rate5m{run=~"$run"}', "limited by capacity {{run}}"),
            ),
            unit=SHARE,
            least=0,
            most=1,
            thresholds=(Threshold(0.8, WARNING_COLOR),),
        ),
        TimeSeries(
            title="Time of an update and of an inference",
            shows="Median seconds of the learner's update, and of an actor's inference for all its environments.",
            bad="Both grow together: more compute threads than cores, and they take turns.",
            remedy="Run fewer actors on the machine, or give the learner cores of its own.",
            queries=(
                Query(quantile(0.5, "headrace_learner_update_seconds"), "update {{run}}"),
                Query(quantile(0.5, "headrace_actor_inference_seconds"), "inference {{run}}"),
            ),
            unit=SECONDS,
            least=0,
        ),
    ),
)
