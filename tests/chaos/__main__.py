"""`make chaos ARGS="--minutes 20 --seed 1"`: the services under faults; exit status 1 if a promise is broken."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from chaos import schedule
from chaos.experiment import perform
from chaos.machine import Permitted
from chaos.schedule import Schedule

FAULTS_A_MINUTE = 10


def main() -> None:
    """Run, print and write the report, and exit."""
    arguments = _arguments(sys.argv[1:])
    console = Console()
    permitted = Permitted.here()
    for family, reason in permitted.missing.items():
        console.print(f"left out here: {family}: {reason}", style="yellow")
    planned = _schedule(arguments, permitted)
    folder: Path = arguments.folder / f"seed-{planned.seed}"
    if folder.exists():
        sys.exit(f"error: --folder {arguments.folder}: has a {folder.name} already; move it away, or choose another")
    folder.mkdir(parents=True)
    (folder / "schedule.json").write_text(planned.to_json() + "\n")
    report = perform(planned, permitted, folder, lambda text: console.print(text, highlight=False))
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    console.print(report.to_screen())
    console.print(f"report: {folder / 'report.json'}")
    if report.broken:
        again = f'make chaos ARGS="--schedule {folder / "schedule.json"} --folder {folder}-again"'
        console.print(f"seed {planned.seed} breaks it; once more: {again}", style="red", soft_wrap=True)
        sys.exit(1)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long faults strike (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the schedule (default: 1)")
    parser.add_argument("--faults", type=int, help=f"how many (default: {FAULTS_A_MINUTE} a minute)")
    parser.add_argument("--actors", type=int, default=8, help="actor processes (default: 8)")
    parser.add_argument("--lease-seconds", type=float, default=3.0, help="of an actor (default: 3)")
    parser.add_argument("--schedule", type=Path, help="a schedule.json to bring back, in place of all of these")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"), help="for logs and report")
    parsed = parser.parse_args(arguments)
    if parsed.minutes <= 0 or parsed.actors < 2 or parsed.lease_seconds < 1 or (parsed.faults or 1) < 1:
        parser.error("allowed: --minutes above 0, at least 2 --actors, a --lease-seconds of 1, and 1 of --faults")
    return parsed


def _schedule(arguments: argparse.Namespace, permitted: Permitted) -> Schedule:
    if arguments.schedule is not None:
        try:
            return Schedule.from_json(arguments.schedule.read_text())
        except (OSError, ValueError, LookupError, TypeError) as error:
            sys.exit(f"error: --schedule {arguments.schedule}: {error}; give a schedule.json that a run has written")
    count = arguments.faults or max(1, round(arguments.minutes * FAULTS_A_MINUTE))
    kinds = permitted.kinds(arguments.actors, arguments.lease_seconds)
    return schedule.draw(
        arguments.seed, arguments.minutes * 60, count, arguments.actors, arguments.lease_seconds, kinds
    )


if __name__ == "__main__":
    main()
