"""Draws the curves of a run: `python docs/results/curve.py runs/NAME/metrics.csv OUT.png`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

PANELS = {
    "return_mean_100": "return, mean of 100 games",
    "steps_per_second": "env steps/s",
    "lag_mean": "policy lag, updates",
    "q": "mean value of actions taken",
}


def main(source: Path, output: Path) -> None:
    """Draw one panel a quantity against env_steps."""
    rows = list(csv.DictReader(source.read_text().splitlines()))
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(8, 9), sharex=True, layout="constrained")
    for axis, (column, title) in zip(axes, PANELS.items(), strict=True):
        points = [(int(row["env_steps"]), float(row[column])) for row in rows if row[column]]
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("env_steps")
    figure.savefig(output, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
