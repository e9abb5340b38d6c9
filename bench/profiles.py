"""Where the time of each service goes at full load: a profile of gate, learner and an actor of a running training.

py-spy samples the stacks of all three at once, native frames included; the kernel says how much CPU time each thread
used meanwhile. The figure shows the share of a core by whose code ran, the tables the functions that account for what
is neither ALE nor torch's kernels nor zmq. Sampling stops a process for a moment each time, so a profiled run is slower
than another: shares are to be read, not steps/s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import measurement
import played
import psutil
import stacks
import training
from measurement import Measured, Round, Table
from stacks import KINDS, OUTSIDE, Stack
from training import ENV_STEPS, FOREVER, Training

from headrace_proto.lifecycle import run_main

matplotlib.use("Agg")

SERVICES = ("actor", "learner", "gate")
NATIVE = {"actor": "ALE", "learner": "torch", "gate": "other native"}
"""Whose threads are in a service that neither Python nor zmq has started."""

RATE = 50
"""Samples a second."""

SHOWN_FUNCTIONS = 8
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#8172b3", "#c44e52", "#937860")


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of a core of one process: by kind of code, and of what is outside by function."""

    by_kind: Mapping[str, float]
    by_function: Mapping[str, float]


def main() -> None:
    """Profile and report."""
    options = _options()
    told = ["--game", options.game, "--network", options.network, "--device", "cpu"]
    arguments = [*told, *options.of_train, "--steps", FOREVER]
    last: dict[str, Profile] = {}

    def one_round() -> Round:
        with training.started(arguments) as run:
            run.wait_until(ENV_STEPS, options.warm_up_steps)
            last.update(profile(run, options.seconds))
        return summary(last)

    measured = measurement.measure(one_round, options)
    precision = played.settings_of(arguments).precision
    if options.figure is not None:
        draw(measured, f"{options.network} in {precision}, {options.seconds:.0f} s at full load", options.figure)
    tables = [
        kind_table(measured, options.network, precision),
        *(function_table(name, last[name]) for name in SERVICES),
    ]
    more = {"precision": precision, "functions": {name: dict(found.by_function) for name, found in last.items()}}
    measurement.report("profiles", tables, measured, options, more, mark=f"profiles {options.network} {precision}")


def profile(run: Training, seconds: float) -> dict[str, Profile]:
    """One process of each service, all sampled at the same time."""
    watched = {name: run.processes()[name][0] for name in SERVICES}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        before = {name: _cpu_seconds(process) for name, process in watched.items()}
        started = time.monotonic()
        samplers = {name: _sample(process.pid, seconds, Path(folder) / name) for name, process in watched.items()}
        for sampler in samplers.values():
            sampler.wait()
        passed = time.monotonic() - started
        found = {}
        for name, process in watched.items():
            after = _cpu_seconds(process)
            busy = {thread: (used - before[name].get(thread, 0.0)) / passed for thread, used in after.items()}
            sampled = stacks.parse((Path(folder) / name).read_text().splitlines())
            found[name] = _profile(sampled, busy, _native_threads(process.pid, NATIVE[name]))
        return found


def summary(profiles: Mapping[str, Profile]) -> Round:
    """Shares of a core, by service and kind, and of each service what is outside."""
    by_kind = {f"{name} {kind}": share for name, found in profiles.items() for kind, share in found.by_kind.items()}
    outside = {f"{name} outside": sum(found.by_kind[kind] for kind in OUTSIDE) for name, found in profiles.items()}
    return by_kind | outside


def kind_table(measured: Measured, network: str, precision: str) -> Table:
    """A row for each service."""
    columns = ["percent of a core", *KINDS, "outside ALE, torch, zmq"]
    rows = [
        [name, *(f"{100 * measured.median(f'{name} {kind}'):.1f}" for kind in (*KINDS, "outside"))] for name in SERVICES
    ]
    return Table(f"Where the time goes, {network} in {precision}", columns, rows)


def function_table(name: str, found: Profile) -> Table:
    """The functions that account for most of what is outside, in the last round."""
    rows = [[f"`{function}`", f"{100 * share:.1f}"] for function, share in found.by_function.items()]
    return Table(f"{name}: outside ALE, torch and zmq", ["", "percent of a core"], rows[:SHOWN_FUNCTIONS])


def draw(measured: Measured, title: str, path: Path) -> None:
    """The figure: a bar for each service."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 2.6), layout="constrained")
    left = [0.0] * len(SERVICES)
    for kind, colour in zip(KINDS, COLOURS, strict=True):
        widths = [100 * measured.median(f"{name} {kind}") for name in SERVICES]
        axes.barh(SERVICES, widths, left=left, label=kind, color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, max(100.0, *left))
    axes.set_xlabel("percent of a core")
    axes.set_title(title, loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _profile(sampled: list[Stack], busy: Mapping[int, float], native: Mapping[int, str]) -> Profile:
    return Profile(stacks.shares(sampled, busy, native), stacks.outside_by_function(sampled, busy))


def _sample(pid: int, seconds: float, output: Path) -> subprocess.Popen[bytes]:
    py_spy = Path(sys.executable).with_name("py-spy")
    flags = ["--native", "--threads", "--format", "raw", "--rate", str(RATE), "--duration", str(round(seconds))]
    command = [str(py_spy), "record", "--pid", str(pid), *flags, "--output", str(output)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 our own


def _cpu_seconds(process: psutil.Process) -> dict[int, float]:
    return {thread.id: thread.user_time + thread.system_time for thread in process.threads()}


def _native_threads(pid: int, others: str) -> dict[int, str]:
    """Whose a process's threads are, where only their names tell: libzmq names its own."""
    names = {int(task.name): (task / "comm").read_text() for task in Path(f"/proc/{pid}/task").iterdir()}
    return {thread: "zmq" if name.startswith("ZMQ") else others for thread, name in names.items()}


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--network", default="dqn-2013", choices=["dqn-2013", "dqn-2015", "mlp"])
    parser.add_argument("--warm-up-steps", type=int, help="steps before it is profiled; default 5000, quick 500")
    parser.add_argument("--seconds", type=float, help="how long; default 30, quick 3")
    parser.add_argument("--figure", type=Path, help="a picture to write, e.g. docs/results/profile.png")
    training.add_flags(parser)
    options = parser.parse_args()
    options.warm_up_steps = options.warm_up_steps or (500 if options.quick else 5_000)
    options.seconds = options.seconds or (3.0 if options.quick else 30.0)
    return options


if __name__ == "__main__":
    run_main(main)
