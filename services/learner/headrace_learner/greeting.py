"""What a learner checks and computes when a gate greets it. Pure."""

from __future__ import annotations

import math

from headrace_proto.errors import UserError
from headrace_proto.messages import BatchHeader
from headrace_proto.settings import RunSettings
from headrace_proto.specification import RunSpecification


def require_capacity(capacity: int, run: RunSpecification) -> None:
    """Raise UserError for a capacity with which the run could stand still."""
    ask = run.credit_per_round
    least = max(run.batch_size - 1 + ask, run.batch_size + run.rollout_length)
    if capacity < least:
        raise UserError(
            f"--capacity {capacity}: can deadlock; at least {least} is needed, since {run.batch_size - 1} transitions "
            f"may wait for a batch of {run.batch_size} to fill while an actor asks for {ask} at once "
            f"({run.environments_per_actor} environments x {run.rollout_length} steps); raise it, or lower "
            "--environments-per-actor or --batch-size"
        )


def policy_lag_bound(settings: RunSettings, greeting: BatchHeader) -> int:
    """Most updates between the weights that chose an action and the update that trains it: P + K + B - 3.

    P updates lie between publications, K updates may pass while a credit is out, and B = capacity / batch size batches
    may be queued or delivered.
    """
    between_publications = max(1, math.ceil(settings.publish_every / settings.batch_size))
    return between_publications + greeting.straggler_updates + greeting.capacity // settings.batch_size - 3
