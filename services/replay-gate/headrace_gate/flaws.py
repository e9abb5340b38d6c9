"""What a rollout can have wrong with it, though it has credit. Pure."""

from __future__ import annotations

from headrace_gate.learner_account import MAX_UNTRAINED_BATCHES, LearnerAccount
from headrace_gate.ledger import Credit
from headrace_gate.rollout_queue import Payload
from headrace_proto import rollouts
from headrace_proto.messages import RolloutHeader


def flaw(header: RolloutHeader, payload: Payload, credit: Credit, learner: LearnerAccount) -> str | None:
    """Why a rollout cannot be used, None if it can: the reason of REJECTION_REASONS that it counts under."""
    run = None if learner.progress is None else learner.progress.run
    if run is None or header.count > run.rollout_length:
        return "malformed"
    # The learner may be as many updates further as batches are with it.
    newest = learner.version + MAX_UNTRAINED_BATCHES
    if header.generation > learner.generation or header.weights_version > newest:
        return "malformed"
    if (header.generation, header.weights_version) < credit.weights:
        return "stale"
    return "oversized" if len(payload) > rollouts.max_payload_bytes(run) else None
