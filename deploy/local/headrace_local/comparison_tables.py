"""What `headrace compare` prints: a table of the groups, and one of the way to a score."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from headrace_local import human_normalised
from headrace_local.comparison import ComparedGroup
from headrace_local.confidence import MeanCurve
from headrace_local.recorded_run import Milestone, RecordedRun
from headrace_local.run_groups import RunGroup

_NEVER = Milestone(math.inf, math.inf)
_CAPTION = (
    "Scores are of the exploring actors, over their last 100 games. last: mean over seeds, and half of its 95 % "
    "confidence interval, where the shortest seed ends, also of fewer games. best: mean of each seed's best. human %: "
    f"last, human-normalised by {human_normalised.SOURCE}."
)


def summary(groups: Iterable[ComparedGroup]) -> Table:
    """A row a group; steps and minutes as a range where seeds differ."""
    table = _table("seeds", "M steps", "minutes", "last", "best", "steps/s", "human %")
    table.caption, table.caption_justify = _CAPTION, "left"
    for compared in groups:
        runs = compared.group.runs
        table.add_row(
            compared.group.label,
            str(len(runs)),
            _range([run.env_steps[-1] / 1e6 for run in runs], "{:,.2f}"),
            _range([run.minutes[-1] for run in runs], "{:,.1f}"),
            _last(compared.over_env_steps),
            _best(runs),
            _steps_per_second(runs),
            _human_normalised(compared),
        )
    return table


def milestones(groups: Iterable[RunGroup], score: float) -> Table:
    """When each seed first reached a score, and the median of each group: seeds that never did count as last."""
    table = _table("seed", "env steps", "minutes")
    table.title, table.title_justify = f"first score of at least {score:g}", "left"
    for group in groups:
        reached = [run.first_reached(score) or _NEVER for run in group.runs]
        for seed, milestone in zip(group.seeds, reached, strict=True):
            table.add_row(group.label, str(seed), _steps(milestone.env_steps), _minutes(milestone.minutes))
        table.add_row(
            group.label,
            "median",
            _steps(statistics.median(milestone.env_steps for milestone in reached)),
            _minutes(statistics.median(milestone.minutes for milestone in reached)),
            style="bold",
            end_section=True,
        )
    return table


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("group", overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _range(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low}-{high}"


def _last(curve: MeanCurve) -> str:
    if not len(curve.x):
        return "-"
    half = "" if curve.seeds == 1 else f" ± {curve.high[-1] - curve.mean[-1]:,.1f}"
    return f"{curve.mean[-1]:,.1f}{half}"


def _best(runs: Sequence[RecordedRun]) -> str:
    bests = [run.best for run in runs if run.best is not None]
    return f"{statistics.fmean(bests):,.1f}" if len(bests) == len(runs) else "-"


def _steps_per_second(runs: Sequence[RecordedRun]) -> str:
    steps = sum(run.env_steps[-1] - run.env_steps[0] for run in runs)
    minutes = sum(run.minutes[-1] - run.minutes[0] for run in runs)
    return f"{steps / minutes / 60:,.0f}" if minutes else "-"


def _human_normalised(compared: ComparedGroup) -> str:
    reference = human_normalised.reference_scores(compared.group.runs[0].game)
    mean = compared.over_env_steps.mean
    return f"{reference.normalised(mean[-1]):,.1f}" if reference is not None and len(mean) else "-"


def _steps(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "not reached"


def _minutes(value: float) -> str:
    return f"{value:,.1f}" if math.isfinite(value) else "not reached"
