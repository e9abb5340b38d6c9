"""When a setting counts: declared beside its field, told by refusals and by docs/settings.md."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.fields import FieldInfo

from headrace_proto.base_settings import Settings
from headrace_proto.names import flag_name


class CountsWith:
    """A setting counts where another one has one of these values and counts itself.

    Of several beside a field one is enough; a field without any always counts.
    """

    def __init__(self, setting: str, *values: str | None) -> None:
        """`None` as the only value is a setting that is not set."""
        self.setting = setting
        self.values = values

    def __str__(self) -> str:
        """As flags: --replay uniform or prioritized."""
        *others, last = self.values
        if last is None:
            return f"no {flag_name(self.setting)}"
        return f"{flag_name(self.setting)} " + (f"{', '.join(map(str, others))} or {last}" if others else last)

    def holds(self, settings: Settings) -> bool:
        """Whether the settings meet it."""
        return getattr(settings, self.setting) in self.values and counts(settings, self.setting)


def conditions(field: FieldInfo) -> Sequence[CountsWith]:
    """Those declared beside a field, the one that says most first."""
    return [mark for mark in field.metadata if isinstance(mark, CountsWith)]


def counts(settings: Settings, name: str) -> bool:
    """Whether anything reads the setting, given the others."""
    declared = conditions(type(settings).model_fields[name])
    return not declared or any(condition.holds(settings) for condition in declared)


def unmet(settings: Settings, name: str) -> CountsWith:
    """Why a setting does not count: its first condition, or that of the setting which it depends on."""
    condition = conditions(type(settings).model_fields[name])[0]
    return condition if counts(settings, condition.setting) else unmet(settings, condition.setting)
