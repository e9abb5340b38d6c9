"""A soak drawn: throughput, lag, memory and open files over hours, a line where a piece begins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import soak_record
from matplotlib.figure import Figure
from soak_record import Sample

from headrace_local.figure_style import COLOURS, DASHES, DOTS_PER_INCH, tidy

INCHES = (9.0, 8.0)
AVERAGED = 6
"""Samples over which a rate is taken."""


def save(path: Path, samples: Sequence[Sample]) -> None:
    """Draw, and write the picture; raises OSError."""
    figure = Figure(figsize=INCHES, layout="constrained")
    rate, lag, memory, files = figure.subplots(4, 1, sharex=True)
    names = [name.removesuffix(" MiB") for name in samples[0].process_names if name.endswith(" MiB")]
    began = 0.0
    for piece in soak_record.pieces(samples):
        hours = [(began + sample["seconds"]) / 3600 for sample in piece]
        stretches = list(pairwise(piece[::AVERAGED]))
        ends = hours[AVERAGED::AVERAGED]
        rate.plot(ends, [soak_record.rate(pair, "env_steps", "seconds") for pair in stretches], color=COLOURS[0])
        lag.plot(ends, [soak_record.rate(pair, "lag_sum", "lag_count") for pair in stretches], color=COLOURS[0])
        for index, name in enumerate(names):
            style = {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)]}
            label = name if began == 0.0 else None
            memory.plot(hours, [sample.values.get(f"{name} MiB", 0.0) for sample in piece], label=label, **style)
            files.plot(hours, [sample.values.get(f"{name} files", 0.0) for sample in piece], **style)
        for axes in (rate, lag, memory, files):
            axes.axvline(began / 3600, color="grey", linewidth=0.8, linestyle=":")
        began += piece[-1]["seconds"]
    lag.axhline(samples[-1]["lag_bound"], color=COLOURS[1], linewidth=0.8, linestyle="--", label="bound")
    for axes, label in ((rate, "env steps/s"), (lag, "lag, updates"), (memory, "MiB"), (files, "open files")):
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        tidy(axes)
    lag.legend(frameon=False)
    files.set_xlabel("hours (dotted: a piece begins, from a checkpoint)")
    figure.legend(*memory.get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=len(names))
    figure.savefig(path, dpi=DOTS_PER_INCH)
