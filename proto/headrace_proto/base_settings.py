"""The base of all settings: one name each, as flag and environment variable, validated at start."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace_proto.names import ENVIRONMENT_PREFIX

resumed_settings: ContextVar[Mapping[str, Any]] = ContextVar("resumed_settings", default={})  # noqa: B039 never mutated


class Settings(BaseSettings):
    """Base of all settings: frozen, no unknown names, environment variables with the prefix HEADRACE_."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
    )
