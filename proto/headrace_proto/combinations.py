"""Which settings of a run go together: told before anything is started."""

from __future__ import annotations

from headrace_proto.conditions import counts, unmet
from headrace_proto.errors import UserError
from headrace_proto.names import flag_name, variable_name
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


def has_effect(settings: RunSettings, name: str) -> bool:
    """Whether a setting does what it says, given the others."""
    if name == "n_step" and _is_cut_by_the_rollout(settings):
        return False
    return counts(settings, name) and not _is_of_no_tail(settings, name)


def require_effect(settings: RunSettings) -> None:
    """Raise UserError for a setting that was asked for and does nothing, or not all that it says.

    What a preset or a checkpoint brings beside what counts is no mistake: both are whole sets of settings.
    """
    for name in sorted(settings.asked):
        if not counts(settings, name):
            condition = unmet(settings, name)
            raise UserError(
                f"{_as_flag(name, getattr(settings, name))}: does nothing with "
                f"{_as_flag(condition.setting, getattr(settings, condition.setting))}; allowed: without it, or with "
                f"{condition} (environment: {variable_name(name)})"
            )
        if _is_of_no_tail(settings, name):
            raise UserError(
                f"{_as_flag(name, getattr(settings, name))}: does nothing with --final-epsilon "
                f"{settings.final_epsilon}, which is not below --middle-epsilon {settings.middle_epsilon}; allowed: "
                "without it, or with a lower final one"
            )
    if "n_step" in settings.asked and _is_cut_by_the_rollout(settings):
        raise UserError(
            f"--n-step {settings.n_step}: a return ends with its rollout; allowed: at most --rollout-length, "
            f"{settings.rollout_transitions}"
        )


def _is_cut_by_the_rollout(settings: RunSettings) -> bool:
    return settings.n_step > settings.rollout_transitions


def _is_of_no_tail(settings: RunSettings, name: str) -> bool:
    """Whether it says how epsilon falls on, which it does not; a middle one of 0 says just that."""
    is_of_the_tail = name in ("middle_epsilon", "epsilon_tail_steps")
    return is_of_the_tail and bool(getattr(settings, name)) and not settings.middle_of_epsilon


def _as_flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return flag_name(name if value else f"no_{name}")
    return f"{flag_name(name)} {value}"


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
