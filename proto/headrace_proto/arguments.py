"""Reads settings from flags and environment, and says of a mistake which setting, which value, what is allowed."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from headrace_proto.base_settings import Settings, resumed_settings
from headrace_proto.errors import UserError
from headrace_proto.names import ENVIRONMENT_PREFIX, flag_name, variable_name
from headrace_proto.settings import ALL_SETTINGS

SettingsT = TypeVar("SettingsT", bound=Settings)


def shown_names(settings: type[Settings]) -> list[str]:
    """Names of settings as flags and variables have them."""
    return [field.alias or name for name, field in settings.model_fields.items()]


class Known:
    """All names of settings, for telling a misspelt environment variable from another service's."""

    names: ClassVar[frozenset[str]] = frozenset(name for settings in ALL_SETTINGS for name in shown_names(settings))


def parse(
    settings: type[SettingsT], arguments: Sequence[str], program: str, resumed: Mapping[str, Any] | None = None
) -> SettingsT:
    """Read settings from flags and environment; raises UserError with one line that names setting and value.

    `resumed` are a checkpoint's settings: they hold wherever neither a flag nor the environment speaks.
    """
    check_environment(os.environ)
    token = resumed_settings.set(resumed or {})
    try:
        return settings(_cli_parse_args=list(arguments), _cli_prog_name=program, _cli_exit_on_error=False)
    except SettingsError as error:
        raise UserError(_unknown_flag(settings, str(error))) from None
    except ValidationError as error:
        raise UserError(describe(error)) from None
    finally:
        resumed_settings.reset(token)


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise UserError for a variable with Headrace's prefix that names no setting."""
    for variable in environment:
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if variable.startswith(ENVIRONMENT_PREFIX) and name not in Known.names:
            near = difflib.get_close_matches(name, Known.names, n=1)
            hint = f"did you mean {variable_name(near[0])}?" if near else "see `headrace train --help` for the names"
            raise UserError(f"{variable}={environment[variable]}: no such setting; {hint}")


def describe(error: ValidationError) -> str:
    """One line for the first error: the setting, its value, what is allowed."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    return f"{flag_name(name)} {first['input']}: {message} (environment: {variable_name(name)})"


def _unknown_flag(settings: type[Settings], message: str) -> str:
    message = message.removeprefix("error parsing CLI: ")
    prefix = "unrecognized arguments: "
    if not message.startswith(prefix):
        return message
    argument = message.removeprefix(prefix).split()[0]
    flags = [flag_name(name) for name in shown_names(settings)]
    near = difflib.get_close_matches(argument.partition("=")[0], flags, n=1)
    return f"{argument}: no such setting; " + (f"did you mean {near[0]}?" if near else "see --help for the names")
