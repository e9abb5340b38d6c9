"""The newest numbers, large."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import largest
from headrace_grafana.panels import ALARM_COLOR, BASE_COLOR, WARNING_COLOR, Query, Stat, Threshold
from headrace_grafana.units import COUNT, SCORE, SECONDS, SHARE

NOW = Row(
    "Now",
    (
        Stat(
            title="Score, evaluated",
            shows="Mean raw score of the games that the evaluator played greedily with the newest checkpoint: "
            "the number to judge a run by.",
            bad="It stays where it was for many checkpoints, or falls back to where it began.",
            remedy="Look at loss, value and epsilon below. No value: start the evaluator, docs/operations.md says how.",
            queries=(Query(largest("headrace_evaluator_return_mean"), "{{run}}"),),
            unit=SCORE,
            no_value="no evaluation yet",
        ),
        Stat(
            title="Score while training",
            shows="Mean raw score of the last 100 games whose last transition was trained: with exploration, and late.",
            bad="It stays at what random play scores after epsilon has fallen.",
            remedy="Compare the settings with a run that learned, docs/results has them.",
            queries=(Query(largest("headrace_learner_episode_return_mean"), "{{run}}"),),
            unit=SCORE,
            no_value="no game yet",
        ),
        Stat(
            title="Done",
            shows="Transitions trained, as a share of HEADRACE_STEPS.",
            bad="It does not grow, or has gone back further than to the last checkpoint.",
            remedy="Look at updates/s on the dashboard Throughput, and at restarts below.",
            queries=(Query('run:headrace_learner_env_steps_per_target:ratio{run=~"$run"}', "{{run}}"),),
            unit=SHARE,
            least=0,
            most=1,
        ),
        Stat(
            title="Time left",
            shows="At the rate of the last minute.",
            bad="It grows: the run has become slower. No value: nothing is trained.",
            remedy="Look at the dashboard Throughput.",
            queries=(
                Query(
                    '(max by (run) (headrace_learner_target_env_steps{run=~"$run"})\n'
                    ' - max by (run) (headrace_learner_env_steps{run=~"$run"}))\n'
                    '/ (run:headrace_learner_transitions:rate1m{run=~"$run"} > 0)',
                    "{{run}}",
                ),
            ),
            unit=SECONDS,
            least=0,
            no_value="nothing is trained",
        ),
        Stat(
            title="Checkpoint's age",
            shows="How much work a crash would cost.",
            bad="Above an hour: the alert HeadraceCheckpointTooOld fires.",
            remedy="Is the runs' volume full or read-only? The learner's log says so. Else lower HEADRACE_SAVE_EVERY.",
            queries=(
                Query(
                    'time() - max by (run) (headrace_learner_checkpoint_timestamp_seconds{run=~"$run"} > 0)',
                    "{{run}}",
                ),
            ),
            unit=SECONDS,
            least=0,
            thresholds=(Threshold(1800, WARNING_COLOR), Threshold(3600, ALARM_COLOR)),
            no_value="none yet",
        ),
        Stat(
            title="Stops by NaN",
            shows="Stops of the run by a loss, gradient or weight that is not finite, in all of its processes.",
            bad="Any: the alert HeadraceNonFiniteStop fires, and the learner goes on from its last checkpoint.",
            remedy="Look at loss and gradient before the stop; lower HEADRACE_LEARNING_RATE or HEADRACE_GRADIENT_CLIP.",
            queries=(Query(largest("headrace_learner_non_finite_stops_total"), "{{run}}"),),
            unit=COUNT,
            below_thresholds=BASE_COLOR,
            thresholds=(Threshold(1, ALARM_COLOR),),
        ),
    ),
)
