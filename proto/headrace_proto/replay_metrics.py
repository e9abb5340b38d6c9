"""Metrics of the learner's replay; all nought without one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from headrace_proto.counted_histogram import CountedHistogram

AGE_BUCKETS = (0, *(2**power for power in range(19)))


class ReplayMetrics:
    """What the replay holds, how often it is sampled and how old its samples are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"headrace_learner_replay_{name}", text, registry=registry)

        self.size = gauge("size_transitions", "Transitions that the replay holds.")
        self.max_size = gauge("max_size_transitions", "Most transitions that the replay holds; 0 without a replay.")
        self.samples_per_insert = gauge(
            "samples_per_insert", "Transitions sampled for each inserted since sampling began; 0 before."
        )
        self.sample_age = CountedHistogram(
            "headrace_learner_replay_sample_age_versions",
            "Versions, each of one batch from the gate, from the weights that chose an action to those that its "
            "sample trains, per sampled transition.",
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self.sample_age_max = gauge("sample_age_max_versions", "Largest age that this process has sampled.")
        self.sample_age_bound = gauge("sample_age_bound_versions", "Largest age that can be sampled.")
