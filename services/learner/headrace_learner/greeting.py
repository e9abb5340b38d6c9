"""What a learner checks and computes when a gate greets it. Pure."""

from __future__ import annotations

import math

from headrace_proto.messages import BatchHeader
from headrace_proto.run_settings import RunSettings


def policy_lag_bound(settings: RunSettings, greeting: BatchHeader) -> int:
    """Most updates between the weights that chose an action and the update that trains it: P + K + B - 3.

    When a credit is granted the newest published weights, which the actor must have, are at most P - 1 updates old. Its
    rollout arrives at most K - 1 updates later, or not at all. Then it is in at most the B-th of the batches that the
    capacity holds. P = updates between publications, K = straggler updates, B = capacity / batch size, rounded up.
    """
    batches = math.ceil(greeting.capacity / settings.batch_size)
    return updates_between_publications(settings) + greeting.straggler_updates + batches - 3


def updates_between_publications(settings: RunSettings) -> int:
    """Most updates between two publications of weights, P."""
    return max(1, math.ceil(settings.publish_every / settings.batch_size))
