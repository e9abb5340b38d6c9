"""Start and size: seconds to the first update and to an actor's first rollout, and what an actor and images take.

In every round: how long the interpreter takes to import torch, which nothing of ours can shorten; then `headrace train`
until its learner has made the first update; then a gate and a learner that wait for an actor, and an actor that is
started by itself, until the gate has accepted its first rollout. All processes are started as `headrace train` does.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import measurement
import played
import psutil
import training
from measurement import Measured, Round, Table
from training import FOREVER

from headrace_local import launch, targets
from headrace_local.processes import ChildProcess, ProcessSpecification
from headrace_local.scrape import fetch_metrics
from headrace_proto.errors import HeadraceError
from headrace_proto.lifecycle import run_main

MEBIBYTE = 2**20
LOOK_SECONDS = 0.02
DEADLINE_SECONDS = 120.0
IMAGES = ("replay-gate", "learner", "actor")


def main() -> None:
    """Measure and report."""
    options = _options()
    arguments = ["--game", options.game, "--network", options.network, "--device", "cpu", "--steps", FOREVER]

    def one_round() -> Round:
        importing = import_seconds()
        first_update = first_update_seconds(arguments)
        first_rollout, memory = start_an_actor(arguments, options.playing_seconds)
        return {
            "import_torch_seconds": importing,
            "first_update_seconds": first_update,
            "first_rollout_seconds": first_rollout,
            "first_rollout_own_seconds": first_rollout - importing,
            **memory,
        }

    measured = measurement.measure(one_round, options)
    images = {name: image_bytes(f"headrace/{name}:{options.tag}") for name in IMAGES}
    measurement.report("startup", [table(measured), image_table(images)], measured, options, {"image_bytes": images})


def import_seconds() -> float:
    """Seconds that an interpreter takes to start, import torch and end."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - started


def first_update_seconds(arguments: list[str]) -> float:
    """Seconds from the start of `headrace train` to the first update."""
    with training.started(arguments) as run:
        run.wait_until("headrace_learner_updates_total", 1, look_seconds=LOOK_SECONDS)
        return time.monotonic() - run.started_at


def start_an_actor(arguments: list[str], playing_seconds: float) -> tuple[float, dict[str, float]]:
    """Seconds from an actor's start to its first rollout, and its memory in MiB after it has played for a while."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as run_dir, launch.short_temporary_folder() as folder:
        specifications = launch.specifications(
            played.settings_of(arguments), 1, Path(run_dir), Path(folder), resume=None
        )
        gate, learner, actor = specifications
        with _running(gate), _running(learner) as learning:
            bound = partial(_metric, learner, "headrace_learner_policy_lag_bound_updates")
            _wait_until(lambda: bound() > 0, learning)  # greeted by the gate: weights are published
            started = time.monotonic()
            with _running(actor) as acting:
                accepted = partial(_metric, gate, "headrace_gate_accepted_transitions_total")
                _wait_until(lambda: accepted() > 0, acting)
                seconds = time.monotonic() - started
                time.sleep(playing_seconds)
                return seconds, _memory(acting)


def image_bytes(image: str) -> int | None:
    """Size of an image, None where there is no Docker or it was not built."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    command = [docker, "image", "inspect", "--format", "{{.Size}}", image]
    shown = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 the command is our own
    return int(shown.stdout) if shown.returncode == 0 else None


def table(measured: Measured) -> Table:
    """Seconds and memory."""
    seconds = [
        ("interpreter and import torch", "import_torch_seconds", ""),
        ("headrace train to the first update", "first_update_seconds", ""),
        ("an actor to its first rollout", "first_rollout_seconds", ""),
        ("of that without interpreter and torch", "first_rollout_own_seconds", "3"),
    ]
    memory = [
        ("an actor with 8 environments, MiB resident", "actor_resident_mebibytes", "300"),
        ("of that its own (unique set size)", "actor_unique_mebibytes", ""),
    ]
    rows = [[what, measured.text(name, 2), most] for what, name, most in seconds]
    rows += [[what, measured.text(name, 0), most] for what, name, most in memory]
    return Table("Start and size", ["", "seconds, MiB", "at most"], rows)


def image_table(images: dict[str, int | None]) -> Table:
    """A row for each image."""
    rows = [
        [f"headrace/{name}", "not built here" if size is None else f"{size / 1e6:,.0f}"]
        for name, size in images.items()
    ]
    return Table("Images", ["", "MB"], rows)


@contextmanager
def _running(specification: ProcessSpecification) -> Iterator[ChildProcess]:
    child = ChildProcess(specification)
    try:
        yield child
    finally:
        child.kill()


def _metric(specification: ProcessSpecification, name: str) -> float:
    return fetch_metrics(targets.address(specification)).get(name, 0.0)


def _wait_until(condition: Callable[[], bool], child: ChildProcess) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if child.status is not None:
            raise HeadraceError(f"{child.specification.name} ended: {child.error_line()}")
        if time.monotonic() > deadline:
            raise HeadraceError(f"{child.specification.name} was not ready within {DEADLINE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _memory(child: ChildProcess) -> dict[str, float]:
    memory = psutil.Process(child.pid).memory_full_info()
    return {"actor_resident_mebibytes": memory.rss / MEBIBYTE, "actor_unique_mebibytes": memory.uss / MEBIBYTE}


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--network", default="dqn-2013", choices=["dqn-2013", "dqn-2015", "mlp"])
    parser.add_argument("--playing-seconds", type=float, help="before memory is looked at; default 5, quick 0.5")
    parser.add_argument("--tag", default="dev", help="tag of the images whose sizes are shown")
    options = parser.parse_args()
    options.playing_seconds = options.playing_seconds or (0.5 if options.quick else 5.0)
    return options


if __name__ == "__main__":
    run_main(main)
