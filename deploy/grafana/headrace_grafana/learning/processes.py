"""Checkpoints, restarts and memory."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.panels import ALARM_COLOR, WARNING_COLOR, Query, Threshold, TimeSeries
from headrace_grafana.units import BYTES, COUNT, SECONDS

PROCESSES = Row(
    "Checkpoints and processes",
    (
        TimeSeries(
            title="Age of checkpoints",
            shows="Since the newest was saved, and since the one was saved that the evaluator's scores are of.",
            bad="Saved above an hour: the alert HeadraceCheckpointTooOld fires. "
            "Evaluated grows while saved does not: the evaluator hangs.",
            remedy="Saved: look for a full or read-only volume in the learner's log. "
            "Evaluated: ask the evaluator's /healthz on port 9103.",
            queries=(
                Query(
                    'time() - max by (run) (headrace_learner_checkpoint_timestamp_seconds{run=~"$run"} > 0)',
                    "saved {{run}}",
                ),
                Query(
                    'time() - max by (run) (headrace_evaluator_checkpoint_timestamp_seconds{run=~"$run"} > 0)',
                    "evaluated {{run}}",
                ),
            ),
            unit=SECONDS,
            least=0,
            thresholds=(Threshold(3600, ALARM_COLOR),),
        ),
        TimeSeries(
            title="Restarts within 15 minutes",
            shows="Starts of a service at an address that it had before, and learners that the gate met anew. "
            "Each release brings one.",
            bad="3 and more: the alert HeadraceCrashLoop fires.",
            remedy="docker compose ps -a and logs: the exit status says why; services/learner/README.md lists them.",
            queries=(
                Query(
                    'sum by (job) (changes(process_start_time_seconds{job=~"headrace-.+", run=~"$run"}[15m]))',
                    "{{job}}",
                ),
                Query(
                    'sum by (run) (increase(headrace_gate_learner_restarts_total{run=~"$run"}[15m]))',
                    "learners met anew {{run}}",
                ),
            ),
            unit=COUNT,
            least=0,
            thresholds=(Threshold(3, WARNING_COLOR),),
        ),
        TimeSeries(
            title="Resident memory",
            shows="Of the largest process of each kind.",
            bad="It grows without end, or nears the container's limit, above which the kernel kills it.",
            remedy="Raise LEARNER_MEMORY, ACTOR_MEMORY or GATE_MEMORY in .env. "
            "Endless growth is a defect: report it with the release and the settings.",
            queries=(
                Query(
                    'max by (run, job) (process_resident_memory_bytes{job=~"headrace-.+", run=~"$run"})',
                    "{{job}} {{run}}",
                ),
            ),
            unit=BYTES,
            least=0,
        ),
    ),
)
