"""Which settings of a run go together: told before anything is started."""

from __future__ import annotations

from headrace_proto.errors import UserError
from headrace_proto.presets import AlgorithmName
from headrace_proto.run_settings import RunSettings

REPLAYED_ALGORITHMS: tuple[AlgorithmName, ...] = ("nstep-q", "one-step-q")
"""Those that learn from one transition and the state some steps ahead, whoever played it and however long ago."""


def require_combination(settings: RunSettings) -> None:
    """Raise UserError for settings of which each is allowed, but not with the others."""
    if settings.lstm and settings.algorithm != "a3c":
        raise UserError(f"--lstm: {settings.algorithm} learns values without a memory; allowed with it: a3c")
    if settings.replay != "none":
        _require_replay(settings)


def _require_replay(settings: RunSettings) -> None:
    if settings.algorithm not in REPLAYED_ALGORITHMS:
        raise UserError(
            f"--replay {settings.replay}: {settings.algorithm} trains what its newest weights played; allowed: "
            f"--algorithm {' or '.join(REPLAYED_ALGORITHMS)}, or --replay none"
        )
    longest_batch = settings.batch_size - 1 + settings.rollout_transitions
    if settings.replay_max_size < longest_batch:
        raise UserError(
            f"--replay-max-size {settings.replay_max_size}: holds no whole batch; allowed: at least {longest_batch}"
        )
    if settings.replay_min_size_to_sample >= settings.steps:
        raise UserError(
            f"--replay-min-size-to-sample {settings.replay_min_size_to_sample}: the run ends before anything is "
            f"trained; allowed: less than --steps, {settings.steps}"
        )
    if settings.replay_min_size_to_sample > settings.replay_max_size:
        raise UserError(
            f"--replay-min-size-to-sample {settings.replay_min_size_to_sample}: never reached; allowed: at most "
            f"--replay-max-size, {settings.replay_max_size}"
        )
