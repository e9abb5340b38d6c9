"""How every benchmark measures: rounds in which all that is compared runs in turn, medians over them, and the load.

A benchmark is a script with a `main` like this one:

    def main() -> None:
        parser = measurement.parser(__doc__)                  # brings --repeats, --quick, --json, --page
        parser.add_argument("--payload-bytes", type=int, default=56_448)
        options = parser.parse_args()

        def one_round() -> Round:                             # everything that is compared, once each, in turn
            raw, gate = forward(options), through_gate(options)
            return {"transitions_per_second": gate, "raw_transitions_per_second": raw, "bytes_ratio": gate / raw}

        measured = measurement.measure(one_round, options)
        table = Table("Gate", ["", "transitions/s"], [["raw forwarder", measured.text("raw_transitions_per_second")],
                                                      ["gate", measured.text("transitions_per_second")]])
        measurement.report("gate", [table], measured, options)

    if __name__ == "__main__":
        run_main(main)                                        # of headrace_proto.lifecycle: a UserError is one line

- A round is a mapping of names to numbers. What is compared runs within one round, so that it runs in the same minute,
  and a ratio is computed within the round: `Measured.median` of a ratio is the median of pairs, not a ratio of medians.
- `--quick` is for `make bench` and the tests: the benchmark makes its rounds smaller where `options.quick` is set.
  `--repeats` is then 1 unless it is given.
- `report` prints the tables with the load beneath or, with `--json`, one JSON object: the median of every name at the
  top level, and beside them `benchmark`, `repeats`, `rounds`, `load`, `machine`, `settings`, `date`. With `--page FILE`
  it also puts the tables as Markdown between the marks `<!-- MARK -->` and `<!-- end of MARK -->` of that page, with
  machine, command, date and load; the mark is the benchmark's name unless `report` is given another.
- What is computed of rounds is pure and tested in `tests/unit/test_benchmarks.py`; what is said meanwhile goes to
  standard error (`say`).
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import page
from machine import Load, LoadMeter
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

Round = Mapping[str, float]
"""What one repeat measured, by name; ratios of what ran in it among it."""

DEFAULT_REPEATS = 5
QUICK_REPEATS = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of a benchmark and the load while they ran."""

    rounds: Sequence[Round]
    load: Load

    @property
    def names(self) -> list[str]:
        """All that was measured, in the order in which it first came."""
        return list(dict.fromkeys(name for values in self.rounds for name in values))

    def values(self, name: str) -> list[float]:
        """What the rounds measured under a name; a round may lack it."""
        return [values[name] for values in self.rounds if name in values]

    def median(self, name: str) -> float:
        """The median over the rounds; raises KeyError for a name that none has."""
        values = self.values(name)
        if not values:
            raise KeyError(name)
        return statistics.median(values)

    def text(self, name: str, digits: int = 0) -> str:
        """The median, and in parentheses the least and the most where there were several rounds."""
        values = self.values(name)
        shown = [f"{value:,.{digits}f}" for value in (self.median(name), min(values), max(values))]
        return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text: the first column names the rows, the others are numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_terminal(self) -> RichTable:
        """Drawn by rich."""
        drawn = RichTable(title=self.title, box=box.SIMPLE, title_justify="left", title_style="bold")
        for index, column in enumerate(self.columns):
            drawn.add_column(column, justify="left" if index == 0 else "right")
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def as_markdown(self) -> str:
        """For a page."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [" | ".join(cells) for cells in (self.columns, rule, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *(f"| {line} |" for line in lines)])


def parser(description: str | None) -> argparse.ArgumentParser:
    """Flags that every benchmark has; it adds its own."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n\n")[0])
    made.add_argument("--repeats", type=_positive, help=f"rounds; default {DEFAULT_REPEATS}, with --quick 1")
    made.add_argument("--quick", action="store_true", help="a short round, to see that it works: no figure to quote")
    made.add_argument("--json", action="store_true", help="print one JSON object in place of tables")
    made.add_argument("--page", type=Path, help="a Markdown page whose marked tables are replaced")
    return made


def measure(one_round: Callable[[], Round], options: argparse.Namespace) -> Measured:
    """Run as many rounds as the flags say, and watch the load."""
    count = options.repeats or (QUICK_REPEATS if options.quick else DEFAULT_REPEATS)
    rounds: list[Round] = []
    with LoadMeter() as meter:
        for number in range(1, count + 1):
            say(f"round {number} of {count}")
            rounds.append(dict(one_round()))
    return Measured(rounds, meter.load)


def say(message: str) -> None:
    """Tell the person who waits, beside the result."""
    print(message, file=sys.stderr, flush=True)


def report(
    name: str,
    tables: Sequence[Table],
    measured: Measured,
    options: argparse.Namespace,
    more: Mapping[str, Any] | None = None,
    mark: str | None = None,
) -> None:
    """Print tables or JSON, and put the tables into a page if the flags say so.

    Args:
        name: the benchmark's
        tables: what a person sees
        measured: what the JSON has
        options: the flags
        more: what else the JSON has, e.g. distributions
        mark: where in the page the tables stand, if that is not the name
    """
    now = datetime.now(UTC)
    if options.json:
        print(json.dumps(as_json(name, measured, options, now) | dict(more or {})))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        for table in tables:
            console.print(table.for_terminal())
        for line in _foot(measured, now):
            console.print(line, highlight=False)
    if options.page is not None:
        text = "\n\n".join([*(table.as_markdown() for table in tables), "\n".join(_foot(measured, now))])
        options.page.write_text(page.replaced(options.page.read_text(), mark or name, text))


def as_json(name: str, measured: Measured, options: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """The object that `--json` prints."""
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    return {
        "benchmark": name,
        **{quantity: measured.median(quantity) for quantity in measured.names},
        "repeats": len(measured.rounds),
        "rounds": list(measured.rounds),
        "load": asdict(measured.load),
        "machine": machine.describe(),
        "settings": settings,
        "date": now.isoformat(timespec="seconds"),
    }


def _foot(measured: Measured, now: datetime) -> list[str]:
    count = len(measured.rounds)
    rounds = "one round" if count == 1 else f"medians of {count} rounds (least to most)"
    return [
        f"{now:%Y-%m-%d %H:%M} UTC, {machine.caption()}; {rounds}.",
        f"Load: {measured.load}.",
        f"Command: `{_command()}`.",
    ]


def _command() -> str:
    """What was typed, without the flag that names the page."""
    words = list(sys.argv[1:])
    if "--page" in words:
        at = words.index("--page")
        del words[at : at + 2]
    return shlex.join([".venv/bin/python", f"bench/{Path(sys.argv[0]).name}", *words])


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed: 1 or more")
    return value
