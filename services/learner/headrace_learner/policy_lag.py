"""The policy lag: updates between the weights that chose an action and the update that trains it. Pure.

A version of the weights is what one batch brings, m updates, one on each of its minibatches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace_proto.messages import BatchHeader
from headrace_proto.run_settings import RunSettings


def bound(settings: RunSettings, greeting: BatchHeader) -> int:
    """Largest policy lag that a run can have at the gate which greets it: m (P + K + B - 1) - 1.

    When a credit is granted the newest published weights, which the actor must have, are at most P - 1 versions old.
    Its rollout arrives at most K - 1 versions later, or not at all. Then at most B batches are ahead of its own, one of
    which may be short, and in that it is in at most the m-th minibatch. P = versions between publications, K =
    straggler updates, B = capacity / batch size, rounded up.
    """
    batches = math.ceil(greeting.capacity / settings.batch_size)
    versions = versions_between_publications(settings) + greeting.straggler_updates + batches - 1
    return settings.updates_per_batch * versions - 1


def versions_between_publications(settings: RunSettings) -> int:
    """Most versions between two publications of weights, P."""
    return max(1, math.ceil(settings.publish_every / settings.batch_size))


def of_batch(
    versions: NDArray[np.int64], version: int, updates_per_batch: int, minibatches: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Policy lag of each transition of a batch that was trained from a version on. int64 [N].

    versions: int64 [N], the weights that chose each action; minibatches: which transitions each update trained
    """
    lags: NDArray[np.int64] = np.maximum(0, version - versions) * updates_per_batch
    for updates_before, minibatch in enumerate(minibatches):
        lags[minibatch] += updates_before
    return lags
