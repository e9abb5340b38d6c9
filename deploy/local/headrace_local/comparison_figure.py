"""compare.png: return against env steps and against minutes of training, laid out for a page of a paper."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headrace_local import human_normalised
from headrace_local.comparison import ComparedGroup, XKind
from headrace_local.figure_style import COLOURS, DOTS_PER_INCH, tidy
from headrace_local.human_normalised import ReferenceScores

_DASHES = ("-", "--", "-.", ":")
_CAPTION = "mean over seeds and its 95 % confidence band; thin lines are single seeds"
_MILLION = 1_000_000
_INCHES = (10.0, 4.2)
_INCHES_OF_A_LINE = 0.22
_CHARACTERS_OF_A_LINE = 110


def save(path: Path, groups: Sequence[ComparedGroup]) -> None:
    """Draw the groups and write the picture; raises OSError."""
    labels = [_label(group) for group in groups]
    width, height = _INCHES
    height += _INCHES_OF_A_LINE * sum(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(width, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    longest = max(run.env_steps[-1] for group in groups for run in group.group.runs)
    unit, scale = ("millions", _MILLION) if longest >= _MILLION else ("thousands", _MILLION // 1000)
    _draw(left, groups, "env_steps", scale)
    _draw(right, groups, "minutes", 1)
    left.set_xlabel(f"env steps, {unit}{_frames(groups)}")
    right.set_xlabel("minutes of training")
    left.set_ylabel("return: mean score of the last 100 games")
    games = {run.game for group in groups for run in group.group.runs}
    if len(games) == 1:
        game = games.pop()
        figure.suptitle(game.name)
        _add_human_scale(right, human_normalised.reference_scores(game))
    lines = [Line2D([], [], **_style(index)) for index in range(len(groups))]
    figure.legend(lines, labels, loc="outside lower center", frameon=False, title=_CAPTION, title_fontsize="small")
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _draw(axes: Axes, groups: Sequence[ComparedGroup], kind: XKind, scale: int) -> None:
    """One panel. The lines decide what it shows: a band of two seeds, wide as it is, would hide the curves."""
    for index, compared in enumerate(groups):
        curve, runs = compared.curves()[kind], compared.group.runs
        for run in runs if len(runs) > 1 else ():
            axes.plot(getattr(run, kind) / scale, run.returns, color=_colour(index), linewidth=0.6, alpha=0.4)
        axes.plot(curve.x / scale, curve.mean, **_style(index))
    axes.margins(x=0, y=0.15)
    limits = axes.get_ylim()
    for index, compared in enumerate(groups):
        curve = compared.curves()[kind]
        axes.fill_between(curve.x / scale, curve.low, curve.high, color=_colour(index), alpha=0.2, linewidth=0)
    axes.set_ylim(limits)
    axes.set_xlim(left=0)
    tidy(axes)


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _style(index: int) -> dict[str, Any]:
    return {"color": _colour(index), "linestyle": _DASHES[index % len(_DASHES)], "linewidth": 1.8}


def _label(compared: ComparedGroup) -> str:
    seeds = len(compared.group.runs)
    label = f"{compared.group.label} ({seeds} {'seed' if seeds == 1 else 'seeds'})"
    return textwrap.fill(label, _CHARACTERS_OF_A_LINE)


def _frames(groups: Sequence[ComparedGroup]) -> str:
    """How many emulator frames an env step is, where all groups agree on it."""
    runs = [run for group in groups for run in group.group.runs]
    skips = {run.settings.get("frame_skip") if run.game.is_atari else 1 for run in runs}
    return f" (1 step = {skips.pop()} frames)" if len(skips) == 1 and skips != {1} else ""


def _add_human_scale(axes: Axes, reference: ReferenceScores | None) -> None:
    """A second scale at the right, 0 % a random player and 100 % a human."""
    if reference is None:
        return
    to_percent, to_score = reference.normalised, reference.score_of
    scale = axes.secondary_yaxis(
        "right", functions=(lambda score: to_percent(np.asarray(score)), lambda percent: to_score(np.asarray(percent)))
    )
    scale.set_ylabel("human-normalised score, %")
