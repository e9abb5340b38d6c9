"""A run of hours, watched: throughput, lag, and memory and open files of each process, at the start and at the end.

Every call trains another piece of the run and goes on from its checkpoint, until the pieces together have lasted as
long as asked. What was seen is kept in soak.jsonl in the run's folder. It ends with status 1 if anything has drifted.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import measurement
import psutil
import soak_figure
import soak_record
import training
from measurement import Measured, Round, Table
from soak_record import Sample
from training import Training

from headrace_proto.errors import HeadraceError
from headrace_proto.lifecycle import run_main

LAG = "headrace_learner_policy_lag"
MEBIBYTE = 1024 * 1024


def main() -> None:
    """Train a piece where one is owed, and report all."""
    options = _options()
    record = options.runs.resolve() / options.name / "soak.jsonl"

    def one_round() -> Round:
        owed = options.hours * 3600 - soak_record.duration(soak_record.read(record))
        if owed > options.every_seconds:
            train(options.of_train, record, min(owed, options.piece_minutes * 60), options.every_seconds)
        return soak_record.summary(soak_record.read(record))

    measured = measurement.measure(one_round, options)
    if options.figure is not None:
        soak_figure.save(options.figure, soak_record.read(record))
    measurement.report("soak", [table(measured)], measured, options)
    drifted = soak_record.drifted(measured.rounds[0])
    if drifted and not options.quick:
        raise HeadraceError(f"drift: {', '.join(drifted)}")


def train(arguments: list[str], record: Path, seconds: float, every_seconds: float) -> None:
    """One piece; raises HeadraceError if it ends before so many seconds."""
    past = soak_record.read(record)
    piece = past[-1].piece + 1 if past else 1
    with training.started(["--resume", "auto", "--steps", training.FOREVER, *arguments], record.parent) as run:
        # One that goes on has its checkpoint's steps before its actors have played any.
        run.wait_until(training.ENV_STEPS, past[-1]["env_steps"] + 1 if past else 1)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
                if (sample := look(run, piece, time.monotonic() - began)) is not None:
                    soak_record.append(record, sample)
            run.require_alive()
            time.sleep(every_seconds)


def look(run: Training, piece: int, seconds: float) -> Sample | None:
    """What can be seen of a run from outside; None if a process is too busy to answer."""
    learner, gate = run.metrics("learner"), run.metrics("gate")
    if not learner or not gate:
        return None
    sample = {
        "piece": float(piece),
        "seconds": seconds,
        "env_steps": learner.get(training.ENV_STEPS, 0.0),
        "lag_sum": learner.get(f"{LAG}_updates_sum", 0.0),
        "lag_count": learner.get(f"{LAG}_updates_count", 0.0),
        "lag_max": learner.get(f"{LAG}_max_updates", 0.0),
        "lag_bound": learner.get(f"{LAG}_bound_updates", 0.0),
        "alive": gate.get("headrace_gate_alive_transitions", 0.0),
    }
    for role, processes in run.processes().items():
        for index, process in enumerate(processes):
            name = role if len(processes) == 1 else f"{role} {index}"
            sample[f"{name} MiB"] = process.memory_info().rss / MEBIBYTE
            sample[f"{name} files"] = float(process.num_fds())
    return Sample(sample)


def table(measured: Measured) -> Table:
    """A row for each quantity."""
    rows = []
    for name in soak_record.compared(measured.names):
        begin, end = measured.median(f"{name}, begin"), measured.median(f"{name}, end")
        rows.append([name, f"{begin:,.1f}", f"{end:,.1f}", f"{100 * (end / begin - 1):+.1f} %" if begin else ""])
    hours, pieces, steps = (measured.median(name) for name in ("hours", "pieces", "env_steps"))
    title = f"Soak: {hours:.1f} hours, {pieces:.0f} piece(s), {steps:,.0f} env steps"
    return Table(title, ["15 minutes", "the first after the warm-up", "the last", "change"], rows)


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--runs", type=Path, help="folder of runs; default runs, quick a new one")
    parser.add_argument("--name", default="soak", help="the run's name; default soak")
    parser.add_argument("--hours", type=float, help="of all pieces together; default 3, quick 0.01")
    parser.add_argument("--piece-minutes", type=float, default=600.0, help="of this piece at most; default 600")
    parser.add_argument("--every-seconds", type=float, help="between two looks; default 10, quick 1")
    parser.add_argument("--figure", type=Path, help="where to draw it")
    training.add_flags(parser)
    options = parser.parse_args()
    options.repeats = 1
    options.runs = options.runs or Path(tempfile.mkdtemp(prefix="headrace-soak-") if options.quick else "runs")
    options.hours = options.hours if options.hours is not None else (0.01 if options.quick else 3.0)
    options.every_seconds = options.every_seconds or (1.0 if options.quick else 10.0)
    return options


if __name__ == "__main__":
    run_main(main)
