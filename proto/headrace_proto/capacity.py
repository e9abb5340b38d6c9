"""Which capacity a run needs: with less, actors and learner could wait for each other for ever."""

from __future__ import annotations

from headrace_proto.errors import UserError


def least_capacity(batch_size: int, environments_per_actor: int, rollout_length: int) -> int:
    """Room for all but one transition of a batch and one round of an actor, and for a batch and one more rollout."""
    return max(batch_size - 1 + environments_per_actor * rollout_length, batch_size + rollout_length)


def require_capacity(capacity: int, batch_size: int, environments_per_actor: int, rollout_length: int) -> None:
    """Raise UserError for a capacity with which the run could stand still."""
    least = least_capacity(batch_size, environments_per_actor, rollout_length)
    if capacity < least:
        raise UserError(
            f"--capacity {capacity}: can deadlock; allowed: at least {least}: {batch_size - 1} transitions may wait "
            f"for a batch of {batch_size} to fill while an actor asks for {environments_per_actor * rollout_length} at "
            f"once ({environments_per_actor} environments x {rollout_length} steps); raise it, or lower "
            "--environments-per-actor or --batch-size"
        )
