"""What a replay holds, how often it is sampled and how old its samples are; flat at 0 without one."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import largest, quantile
from headrace_grafana.panels import Heatmap, Query, TimeSeries
from headrace_grafana.units import COUNT, NUMBER, VERSIONS

REPLAY = Row(
    "Replay",
    (
        TimeSeries(
            title="Transitions in the replay",
            shows="Those that can be sampled, and the most that it keeps. Both are 0 without HEADRACE_REPLAY.",
            bad="Back near 0: the learner was started again and fills a new one; meanwhile it trains nothing.",
            remedy="Wait until it holds HEADRACE_REPLAY_MIN_SIZE_TO_SAMPLE. If it comes again, read the learner's log.",
            queries=(
                Query(largest("headrace_learner_replay_size_transitions"), "held {{run}}"),
                Query(largest("headrace_learner_replay_max_size_transitions"), "most {{run}}"),
            ),
            unit=COUNT,
            width=12,
            least=0,
            limits=("most",),
        ),
        TimeSeries(
            title="Samples per insert",
            shows="How often an inserted transition was sampled on average, since this learner's sampling began.",
            bad="0 for long: nothing is sampled yet, so nothing is learned. "
            "Elsewhere than HEADRACE_SAMPLES_PER_INSERT for long: report a defect.",
            remedy="At 0: look whether the replay fills, or lower HEADRACE_REPLAY_MIN_SIZE_TO_SAMPLE.",
            queries=(Query(largest("headrace_learner_replay_samples_per_insert"), "samples {{run}}"),),
            unit=NUMBER,
            width=12,
            least=0,
        ),
        Heatmap(
            title="Age of sampled transitions",
            shows="Versions between the weights that chose an action and those that its sample trains: "
            "how many samples, by age.",
            bad="All at the top: only what is about to leave is sampled. "
            "All at the bottom of a full replay: priorities choose only what is new.",
            remedy="Set HEADRACE_REPLAY=uniform, or a lower HEADRACE_PRIORITY_EXPONENT, and compare.",
            queries=(
                Query(
                    "sum by (le) (increase(headrace_learner_replay_sample_age_versions_bucket"
                    '{run=~"$run"}[$__rate_interval]))',
                    "{{le}}",
                ),
            ),
            unit=COUNT,
        ),
        TimeSeries(
            title="Age of samples against its bound",
            shows="Median and 99th percentile over 5 minutes, each exact to its bucket, the largest of this learner, "
            "and what it can be at most.",
            bad="The largest above the bound: a guarantee is broken. "
            "The median far above half of the bound: actors play with old weights.",
            remedy="Above: keep the logs of gate and learner and report a defect. "
            "Old: lower HEADRACE_REPLAY_MAX_SIZE or HEADRACE_PUBLISH_EVERY.",
            queries=(
                Query(quantile(0.5, "headrace_learner_replay_sample_age_versions"), "median {{run}}"),
                Query(quantile(0.99, "headrace_learner_replay_sample_age_versions"), "99 % {{run}}"),
                Query(largest("headrace_learner_replay_sample_age_max_versions"), "largest {{run}}"),
                Query(largest("headrace_learner_replay_sample_age_bound_versions"), "bound {{run}}"),
            ),
            unit=VERSIONS,
            width=12,
            least=0,
            limits=("bound",),
        ),
    ),
)
