"""Steps/s of 1 to 32 actors whose environments take time but no CPU, against the ideal line.

Real processes: one gate, one learner that trains every transition once, and real actors. Only the environments are
simulated, so that a small machine has the shape of a cluster.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import measurement
import timed_environments
from local_run import LocalRun, Usage
from measurement import Measured, Round, Table

from headrace_local import cores
from headrace_local.scrape import Metrics
from headrace_proto.lifecycle import run_main

GAMES = {"atari": "TimedPixels-v0", "vector": "TimedVector-v0"}
ENVIRONMENTS = 8
STEPS_THAT_NEVER_END = "--steps=1000000000"

SPEEDUP_TO_A_SCORE = {1: 1.0, 2: 2.7, 4: 5.9, 8: 10.7, 16: 17.2}
"""Mnih et al., arXiv 1602.01783, Table 2, n-step Q: by threads, how much sooner a score is reached than with one."""


@dataclass(frozen=True, slots=True)
class Point:
    """One number of actors: rates a second, and cores that each service keeps busy.

    waiting_share: of the learner's time, waiting for a batch
    actor_bytes: memory of one actor, shared pages by share
    """

    steps_per_second: float
    gate_cores: float
    learner_cores: float
    actors_cores: float
    waiting_share: float
    actor_bytes: float


def point(before: Usage, after: Usage, learner: tuple[Metrics, Metrics], actors: int, seconds: float) -> Point:
    """From what the processes had used, and the learner's metrics, at both ends of the measurement."""

    def grown(name: str) -> float:
        return (learner[1].get(name, 0.0) - learner[0].get(name, 0.0)) / seconds

    return Point(
        steps_per_second=grown("headrace_learner_env_steps"),
        gate_cores=(after.gate - before.gate) / seconds,
        learner_cores=(after.learner - before.learner) / seconds,
        actors_cores=(after.actors - before.actors) / seconds,
        waiting_share=grown("headrace_learner_batch_wait_seconds_total"),
        actor_bytes=after.actors_bytes / actors,
    )


def named(capacity: int, points: Mapping[int, Point], step_seconds: float) -> dict[str, float]:
    """Points as a round's numbers: beside them the share of the ideal line and the speed-up over the fewest actors."""
    fewest = min(points)
    values: dict[str, float] = {}
    for actors, found in points.items():
        suffix = f"of_{actors}_at_{capacity}"
        values |= {
            f"steps_per_second_{suffix}": found.steps_per_second,
            f"ideal_share_{suffix}": found.steps_per_second / ideal(actors, step_seconds),
            f"speedup_{suffix}": fewest * found.steps_per_second / max(points[fewest].steps_per_second, 1e-9),
            f"gate_cores_{suffix}": found.gate_cores,
            f"learner_cores_{suffix}": found.learner_cores,
            f"actors_cores_{suffix}": found.actors_cores,
            f"waiting_share_{suffix}": found.waiting_share,
            f"actor_bytes_{suffix}": found.actor_bytes,
        }
    return values


def ideal(actors: int, step_seconds: float) -> float:
    """Steps a second of actors that lose no time: all their environments step at once, over and over."""
    return actors * ENVIRONMENTS / step_seconds


def table(measured: Measured, counts: Sequence[int], capacity: int, step_seconds: float) -> Table:
    """A row for each number of actors."""
    rows = []
    for actors in counts:
        suffix = f"of_{actors}_at_{capacity}"
        published = SPEEDUP_TO_A_SCORE.get(actors)
        rows.append(
            [
                str(actors),
                f"{ideal(actors, step_seconds):,.0f}",
                measured.text(f"steps_per_second_{suffix}"),
                f"{measured.median(f'ideal_share_{suffix}'):.0%}",
                measured.text(f"speedup_{suffix}", 1),
                "" if published is None else f"{published:g}",
                *(measured.text(f"{service}_cores_{suffix}", 2) for service in ("gate", "learner", "actors")),
                f"{measured.median(f'waiting_share_{suffix}'):.0%}",
                f"{measured.median(f'actor_bytes_{suffix}') / 2**20:.0f}",
            ]
        )
    columns = [
        "actors",
        "ideal steps/s",
        "steps/s",
        "of ideal",
        "speed-up",
        "Table 2",
        "gate, cores",
        "learner",
        "actors",
        "learner waits",
        "MiB an actor",
    ]
    return Table(f"Scaling with capacity {capacity:,}", columns, rows)


def _measure(capacity: int, counts: Sequence[int], options: argparse.Namespace) -> dict[int, Point]:
    """One run to which actors are added; the learner and the gate are the same all along."""
    arguments = [
        f"--game={GAMES[options.frames]}",
        f"--capacity={capacity}",
        f"--environments-per-actor={ENVIRONMENTS}",
        STEPS_THAT_NEVER_END,
    ]
    points: dict[int, Point] = {}
    with LocalRun(arguments, max(counts), cores.usable_cores()) as run:
        for actors in sorted(counts):
            measurement.say(f"  capacity {capacity:,}, {actors} actors")
            run.have_actors(actors)
            time.sleep(options.seconds / 2)
            began, used, learner = time.monotonic(), run.usage(), run.metrics("learner")
            time.sleep(options.seconds)
            seconds = time.monotonic() - began
            points[actors] = point(used, run.usage(), (learner, run.metrics("learner")), actors, seconds)
    return points


@contextmanager
def environments_known(step_seconds: float) -> Iterator[None]:
    """Let the processes that are started meanwhile, and this one, find the simulated environments."""
    variables = {
        timed_environments.STEP_SECONDS_VARIABLE: str(step_seconds),
        timed_environments.AT_ONCE_VARIABLE: str(ENVIRONMENTS),
    }
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(variables, PYTHONPATH=timed_environments.as_package(Path(folder)))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def main() -> None:
    """Measure and report."""
    options = _options()
    step_seconds = options.step_milliseconds / 1000

    def one_round() -> Round:
        values: dict[str, float] = {}
        for capacity in options.capacities:
            values |= named(capacity, _measure(capacity, options.actors, options), step_seconds)
        return values

    with environments_known(step_seconds):
        measured = measurement.measure(one_round, options)
    tables = [table(measured, options.actors, capacity, step_seconds) for capacity in options.capacities]
    measurement.report("scaling", tables, measured, options)


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--actors", type=_numbers, help="separated by commas; default 1 to 32, with --quick 1 to 4")
    parser.add_argument("--frames", choices=sorted(GAMES), default="atari", help="what an environment shows")
    parser.add_argument("--step-milliseconds", type=float, default=60.0, help="time of a step of an environment")
    parser.add_argument(
        "--capacities", type=_numbers, default=[4096, 256], help="of the gate; the first should be no limit"
    )
    parser.add_argument("--seconds", type=float, help="of each measurement; default 10")
    options = parser.parse_args()
    if options.actors is None:
        options.actors = [1, 2, 4] if options.quick else [1, 2, 4, 8, 16, 32]
    if options.seconds is None:
        options.seconds = 2.0 if options.quick else 10.0
    return options


def _numbers(text: str) -> list[int]:
    numbers = [int(number) for number in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed: numbers of at least 1")
    return numbers


if __name__ == "__main__":
    run_main(main)
