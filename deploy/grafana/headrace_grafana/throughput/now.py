"""The newest numbers, large."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import summed
from headrace_grafana.panels import ALARM_COLOR, BASE_COLOR, WARNING_COLOR, Query, Stat, Threshold
from headrace_grafana.units import COUNT, FRAMES_A_SECOND, SHARE, STEPS_A_SECOND, UPDATES_A_SECOND

NOW = Row(
    "Now",
    (
        Stat(
            title="Env steps/s",
            shows="Transitions that all actors generate, a second: the rate of the whole run.",
            bad="0, or half of what this machine did before.",
            remedy="See below who waits. Where actors wait for credit and the learner is busy, it is the limit.",
            queries=(Query('run:headrace_actor_env_steps:rate1m{run=~"$run"}', "{{run}}"),),
            unit=STEPS_A_SECOND,
        ),
        Stat(
            title="Frames/s",
            shows="Emulator frames of these env steps: env steps times frame_skip.",
            bad="0, as for env steps.",
            remedy="As for env steps: both count the same work.",
            queries=(Query('run:headrace_actor_frames:rate1m{run=~"$run"}', "{{run}}"),),
            unit=FRAMES_A_SECOND,
        ),
        Stat(
            title="Updates/s",
            shows="Optimizer steps a second.",
            bad="0 while the run is not finished: the alert HeadraceNoProgress follows.",
            remedy="Ask the learner's /healthz what it waits for, and read its log.",
            queries=(Query('run:headrace_learner_updates:rate1m{run=~"$run"}', "{{run}}"),),
            unit=UPDATES_A_SECOND,
            below_thresholds=ALARM_COLOR,
            thresholds=(Threshold(0.001, BASE_COLOR),),
        ),
        Stat(
            title="Gate fill",
            shows="Transitions alive, as a share of the capacity. A full gate is normal: actors then take turns.",
            bad="Above 100 %: the bound is broken. Near 0 %: no actor plays.",
            remedy="Above 100 %, keep the gate's journal and log and report a defect. Near 0 %, look for actors.",
            queries=(Query('run:headrace_gate_alive_per_capacity:ratio{run=~"$run"}', "{{run}}"),),
            unit=SHARE,
            least=0,
            thresholds=(Threshold(1.001, ALARM_COLOR),),
        ),
        Stat(
            title="Actors",
            shows="Actors that the gate has heard within a lease.",
            bad="Fewer than there are replicas: some cannot join, or die.",
            remedy="Compare with the targets of the job headrace-actor in Prometheus, and read the missing ones' logs.",
            queries=(Query(summed("headrace_gate_actors"), "{{run}}"),),
            unit=COUNT,
            below_thresholds=ALARM_COLOR,
            thresholds=(Threshold(1, BASE_COLOR),),
        ),
        Stat(
            title="Largest policy lag",
            shows="The largest policy lag that this learner has trained, as a share of its bound.",
            bad="Above 100 %: a guarantee is broken, and the alert HeadraceLagAboveBound fires.",
            remedy="Keep the logs of gate and learner and report a defect.",
            queries=(
                Query(
                    'max by (run) (headrace_learner_policy_lag_max_updates{run=~"$run"})\n'
                    '/ max by (run) (headrace_learner_policy_lag_bound_updates{run=~"$run"} > 0)',
                    "{{run}}",
                ),
            ),
            unit=SHARE,
            least=0,
            thresholds=(Threshold(0.9, WARNING_COLOR), Threshold(1.001, ALARM_COLOR)),
        ),
    ),
)
