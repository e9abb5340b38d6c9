"""Lag against learning: the score after so many steps, for several capacities, against the policy lag of each.

A round is one seed: every capacity trains as many steps, by `headrace train`, with all else alike. What actors and
learner can do fills a queue, so that the lag grows with the capacity: the bound is what keeps it small.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import lag_figure
import measurement
import numpy as np
import training
from lag_figure import Trained
from measurement import Measured, Round, Table

from headrace_learner.training_log import METRICS_FILE
from headrace_local import recorded_run
from headrace_proto.lifecycle import run_main

ALL_ALIKE = ("--batch-size=8", "--minibatches=1", "--environments-per-actor=4", "--publish-every=8")
"""A batch is one rollout, so that batches are alike whatever the capacity: of larger ones, those that a small capacity
can hold are of one actor's games. And updates of so few transitions are slow, so that actors wait for the learner.
Weights are published at each, so that what lags is the queue."""


def main() -> None:
    """Train, measure and report."""
    options = _options()
    seeds = itertools.count(options.first_seed)
    trained: list[Trained] = []

    def one_round() -> Round:
        seed = next(seeds)
        values: dict[str, float] = {}
        for capacity in options.capacities:
            measurement.say(f"  seed {seed}, capacity {capacity:,}")
            trained.append(train(capacity, seed, options))
            values |= numbers(trained[-1])
        return values

    measured = measurement.measure(one_round, options)
    if options.figure is not None:
        lag_figure.save(options.figure, trained)
    measurement.report("lag", [table(measured, options.capacities)], measured, options)


def train(capacity: int, seed: int, options: argparse.Namespace) -> Trained:
    """One run from its start to its last step; raises HeadraceError if it fails."""
    folder = options.runs.resolve() / f"{options.game.lower()}-capacity-{capacity}-seed-{seed}"
    arguments = [f"--game={options.game}", f"--capacity={capacity}", f"--seed={seed}", f"--steps={options.steps}"]
    with training.started([*arguments, *options.of_train], folder) as run:
        run.wait_for_end()
    return read(folder, capacity)


def read(folder: Path, capacity: int) -> Trained:
    """What the folder of a run that has ended says of it."""
    with (folder / METRICS_FILE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    lags = [float(row["lag_mean"]) for row in rows if row["lag_mean"]]
    run = recorded_run.read(folder)
    return Trained(capacity, float(np.mean(lags)), run.env_steps, run.returns)


def numbers(run: Trained) -> dict[str, float]:
    """What a round says of a capacity."""
    name = f"capacity_{run.capacity}"
    return {f"{name}_lag": run.lag, f"{name}_score": run.score, f"{name}_mean_score": float(run.returns.mean())}


def table(measured: Measured, capacities: Sequence[int]) -> Table:
    """A row for each capacity."""
    rows = [
        [f"{capacity:,}", *(measured.text(f"capacity_{capacity}_{name}", 1) for name in ("lag", "score", "mean_score"))]
        for capacity in capacities
    ]
    columns = ["capacity", "policy lag, updates", "return at the end", "return, mean over the run"]
    return Table("Lag against learning", columns, rows)


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="CartPole-v1")
    parser.add_argument("--steps", type=int, help="env steps of each run; default 200000, quick 1000")
    parser.add_argument("--capacities", type=_capacities, default=[64, 256, 1024, 4096], help="separated by commas")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="folder of the runs, which are kept; default a new temporary one")
    parser.add_argument("--figure", type=Path, help="a PNG to draw into")
    training.add_flags(parser, ALL_ALIKE)
    options = parser.parse_args()
    options.runs = options.runs or Path(tempfile.mkdtemp(prefix="headrace-lag-"))
    options.steps = options.steps or (1_000 if options.quick else 200_000)
    return options


def _capacities(text: str) -> list[int]:
    return [int(capacity) for capacity in text.split(",")]


if __name__ == "__main__":
    run_main(main)
