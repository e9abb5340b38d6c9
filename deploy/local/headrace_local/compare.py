"""`headrace compare`: curves of several runs with their confidence over seeds, as a picture, as CSV and as a table."""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from headrace_learner.training_log import METRICS_FILE
from headrace_local import comparison, comparison_tables, recorded_run, run_groups
from headrace_local.run_groups import RunGroup
from headrace_proto.arguments import parse
from headrace_proto.errors import UserError
from headrace_proto.settings import CompareSettings

PROGRAM = "headrace compare"


def main(arguments: Sequence[str]) -> None:
    """Compare, write and print; raises UserError."""
    settings = parse(CompareSettings, arguments, PROGRAM)
    folders = find(settings.compared, settings.runs)
    by = settings.group_by.split(",") if settings.group_by else []
    groups = run_groups.group([recorded_run.read(folder) for folder in folders], by)
    for note in notes(groups):
        print(f"note: {note}", file=sys.stderr)
    compared = [comparison.compared(group) for group in groups]
    written = write(settings.output, compared)
    console = Console()
    console.print(comparison_tables.summary(compared))
    if settings.score is not None:
        console.print(comparison_tables.milestones(groups, settings.score))
    print("wrote " + " and ".join(map(str, written)))


def find(names: Sequence[str], runs: Path) -> list[Path]:
    """Folders of the runs of these names, or at these paths, each once; raises UserError for one that is not there."""
    known = sorted(path.parent.name for path in runs.glob(f"*/{METRICS_FILE}"))
    if not names:
        raise UserError(f"{PROGRAM} RUN...: name the runs to compare; in {runs} are {', '.join(known) or 'none'}")
    folders = [_folder(name, runs, known) for name in names]
    return list({folder.resolve(): folder for folder in folders}.values())


def notes(groups: Iterable[RunGroup]) -> list[str]:
    """What a reader of the bands should know: seeds that are in a group more than once."""
    return [
        f"{group.label}: seed {seed} is there {count} times and counts as often; a band is over seeds"
        for group in groups
        for seed, count in Counter(group.seeds).items()
        if count > 1
    ]


def write(output: Path, compared: Sequence[comparison.ComparedGroup]) -> list[Path]:
    """Write picture and CSV into a folder; raises UserError where that is not possible."""
    from headrace_local import comparison_figure  # matplotlib takes a second, which a mistake need not wait for

    picture, table = output / "compare.png", output / "compare.csv"
    try:
        output.mkdir(parents=True, exist_ok=True)
        comparison_figure.save(picture, compared)
        comparison.write_csv(table, compared)
    except OSError as error:
        raise UserError(f"--output {output}: cannot write there: {error.strerror}; choose another folder") from None
    return [picture, table]


def _folder(name: str, runs: Path, known: Sequence[str]) -> Path:
    for folder in (runs / name, Path(name)):
        if folder.is_dir():
            return folder
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
    raise UserError(f"{name}: no such run in {runs}; {hint}")
