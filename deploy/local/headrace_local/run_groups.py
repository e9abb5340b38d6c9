"""Which runs are seeds of one curve, and what tells the curves apart. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_local.recorded_run import RecordedRun, resolved
from headrace_proto.errors import UserError
from headrace_proto.presets import DEFAULT_ALGORITHM, preset_values
from headrace_proto.settings import TrainSettings

_NOT_COMPARED = {"seed", "steps", "preset", "name", "runs", "resume", "save_every", "keep", "log_level"}
_NOT_COMPARED |= {"evaluation_average"}  # nothing that is trained depends on it
COMPARED = [name for name in TrainSettings.model_fields if name not in _NOT_COMPARED]
"""The settings that tell runs apart. What a preset sets is among them; which one set it makes no difference."""


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that are one curve, by seed, under a label that says what sets them apart from the other groups."""

    label: str
    runs: tuple[RecordedRun, ...]

    @property
    def seeds(self) -> list[int]:
        """Of its runs, in their order."""
        return [run.seed for run in self.runs]


def group(runs: Iterable[RecordedRun], by: Sequence[str] = ()) -> list[RunGroup]:
    """Runs of one game that agree in the settings named `by`, by default in all that are compared, are one group.

    Groups are in the order of their first runs. Raises UserError for a name that is no setting that is compared.
    """
    by = [_known(name) for name in by]
    found: dict[str, list[RecordedRun]] = {}
    for run in runs:
        values = [_value(run.settings, name) for name in ("game", *(by or COMPARED))]
        found.setdefault(" ".join(values), []).append(run)
    settings = [members[0].settings for members in found.values()]
    labels = _labels(settings, by) if len(found) > 1 else [_label(settings[0], ["algorithm"])]
    return [
        RunGroup(label, tuple(sorted(members, key=lambda run: run.seed)))
        for label, members in zip(labels, found.values(), strict=True)
    ]


def _known(name: str) -> str:
    name = name.strip().removeprefix("--").replace("-", "_")
    if name not in COMPARED:
        near = difflib.get_close_matches(name, COMPARED, n=1)
        hint = f"did you mean {near[0]}?" if near else "allowed: any setting but seed, steps and preset, e.g. capacity"
        raise UserError(f"--group-by {name}: {hint}")
    return name


def _labels(groups: Sequence[Mapping[str, Any]], by: Sequence[str]) -> list[str]:
    """A label a group, of the settings in which they differ; by default without what follows from the others."""

    def differing(names: Iterable[str]) -> list[str]:
        return [name for name in names if len({_value(group, name) for group in groups}) > 1]

    if by:
        return [_label(group, differing(("game", *by))) for group in groups]
    names = differing(dict.fromkeys(("game", "preset", "algorithm", *COMPARED)))
    told = [name for name in names if any(_value(group, name) != _value(_implied(group), name) for group in groups)]
    short = [_label(group, told) for group in groups]
    return short if len(set(short)) == len(groups) else [_label(group, names) for group in groups]


def _implied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings would be if only preset and algorithm had been chosen; of the algorithm, if only the preset."""
    preset = {"preset": settings.get("preset", "default")}
    chosen = settings.get("algorithm", DEFAULT_ALGORITHM)
    defaults = {name: field.default for name, field in TrainSettings.model_fields.items()}
    values = preset_values({**preset, "algorithm": chosen}, {})
    implied = resolved({**defaults, **values, "algorithm": chosen, "steps": settings["steps"]})
    return {**implied, "algorithm": preset_values(preset, {}).get("algorithm", DEFAULT_ALGORITHM)}


def _label(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    return " ".join(f"{name}={_value(settings, name)}" for name in names)


def _value(settings: Mapping[str, Any], name: str) -> str:
    """A value as a label shows it; a setting that a run of an earlier release did not record is unknown."""
    value = settings.get(name, "unknown")
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
