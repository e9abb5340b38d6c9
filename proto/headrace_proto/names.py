"""What a setting is called: by a flag, and in the environment."""

from __future__ import annotations

ENVIRONMENT_PREFIX = "HEADRACE_"


def variable_name(name: str) -> str:
    """Environment variable of a setting: n_step is HEADRACE_N_STEP."""
    return ENVIRONMENT_PREFIX + name.upper()


def flag_name(name: str) -> str:
    """Flag of a setting: n_step is --n-step."""
    return "--" + name.replace("_", "-")
