"""Weights: their bytes, and the time from the end of an optimizer step until every actor acts by them.

The learner trains a batch, publishes as its service does, and does so at the rate of a run of `--steps-per-second`. The
actors are simulated: the product's own link and policy, which begin rounds as often as that run's actors do, in turn,
and play nothing. When a round begins they ask for the version that was published last, unless they have it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.managers import ValueProxy
from pathlib import Path

import measurement
import played
import subscribers
import torch
import training
from measurement import Measured, Round, Table
from prometheus_client import CollectorRegistry
from subscribers import Host, Sightings

from headrace_learner.batches import Batch
from headrace_learner.exchange import Exchange, Standing
from headrace_learner.training import Learner, choose_device
from headrace_local import cores
from headrace_proto import logs
from headrace_proto.lifecycle import run_main
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings, TrainSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification

MILLISECONDS = 1e3
ACTORS = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Publications:
    """What was published: bytes of one, when the step before each ended, and the CPU seconds of all but training."""

    size_bytes: int
    times: Sequence[float]
    cpu_seconds: float


class Publisher:
    """A learner that trains one batch over and over and publishes after each step."""

    def __init__(self, settings: TrainSettings, specification: RunSpecification, folder: Path) -> None:
        torch.set_num_threads(1)
        self._learner = Learner(settings, specification, choose_device("cpu"))
        self._batch: Batch = played.batches_of(specification, self._learner, 1)[0]
        self._settings = settings
        self.address = f"ipc://{folder}/weights"
        log = logs.configure("learner", "error")
        metrics = LearnerMetrics(CollectorRegistry())
        sockets = ServiceSockets("learner", LearnerSettings(), log)
        self._exchange = Exchange(
            played.NOBODY, Standing(), specification, sockets, self.address, f"ipc://{folder}/batches", metrics, log
        )

    def publish_first(self) -> None:
        """Version 0, which all actors begin with."""
        self._exchange.publish(played.weights_of(self._learner).encode())

    def publish(self, count: int, period_seconds: float, newest: ValueProxy[int]) -> Publications:
        """Versions 1 to `count`, one a period, told by `newest` once they can be asked for."""
        times, training_seconds, size = [], 0.0, 0
        started, before = time.monotonic(), time.process_time()
        for version in range(1, count + 1):
            # By this thread's own clock: the exchange's goes on answering meanwhile.
            began = time.thread_time()
            self._learner.train(self._batch)
            training_seconds += time.thread_time() - began
            times.append(time.monotonic())
            blob = played.weights_of(self._learner, version).encode()
            self._exchange.publish(blob)
            newest.value = version
            size = len(blob)
            time.sleep(max(0.0, started + version * period_seconds - time.monotonic()))
        return Publications(size, times, time.process_time() - before - training_seconds)

    def close(self) -> None:
        """Free the sockets."""
        self._exchange.close()


def main() -> None:
    """Measure and report."""
    options = _options()
    os.environ["OMP_NUM_THREADS"] = "1"
    settings = played.settings_of(["--game", options.game, "--network", options.network, *options.of_train])
    period = settings.publish_every / options.steps_per_second

    def one_round() -> Round:
        values: dict[str, float] = {}
        for actors in options.actors:
            published, hosts = publish_to(actors, settings, options.publications, options.steps_per_second)
            values |= summary(actors, published, hosts, period)
        return values

    measured = measurement.measure(one_round, options)
    more = {"network": options.network, "precision": settings.precision, "publications_per_second": 1 / period}
    mark = f"weights {options.network} {settings.precision}"
    measurement.report("weights", [table(measured, options, settings.precision)], measured, options, more, mark)


def publish_to(
    actors: int, settings: TrainSettings, count: int, steps_per_second: float
) -> tuple[Publications, list[Host]]:
    """Publish so many versions to so many actors, which share a process for each core."""
    specification = played.specify(settings)
    round_seconds = actors * specification.credit_per_round / steps_per_second
    phases = [round_seconds * actor / actors for actor in range(actors)]
    spawn = multiprocessing.get_context("spawn")
    processes = min(actors, cores.usable_cores())
    with (
        tempfile.TemporaryDirectory(prefix="headrace-") as folder,
        closing(Publisher(settings, specification, Path(folder))) as publisher,
        spawn.Manager() as manager,
        spawn.Pool(processes) as pool,
    ):
        publisher.publish_first()
        barrier, newest = manager.Barrier(processes + 1), manager.Value("q", 0)
        jobs = [
            pool.apply_async(
                subscribers.host,
                (specification, publisher.address, phases[first::processes], round_seconds, count, newest, barrier),
            )
            for first in range(processes)
        ]
        barrier.wait(subscribers.START_SECONDS)
        published = publisher.publish(count, settings.publish_every / steps_per_second, newest)
        return published, [job.get() for job in jobs]


def summary(actors: int, published: Publications, hosts: Sequence[Host], period_seconds: float) -> Round:
    """What a round measured with so many actors.

    Of every publication the actor in the middle and the last one count, of these the median over the publications. The
    share of the machine is that of a run that publishes every period, however long it took here.
    """
    acted: list[Sightings] = [subscriber.acted for host in hosts for subscriber in host.subscribers]
    waits = [wait for host in hosts for subscriber in host.subscribers for wait in subscriber.waits]
    until_acted = subscribers.delays(published.times, acted)
    used = published.cpu_seconds + sum(host.cpu_seconds for host in hosts)
    return {
        "bytes": published.size_bytes,
        f"wait_milliseconds_to_{actors}": statistics.median(waits) * MILLISECONDS,
        f"median_milliseconds_to_{actors}": statistics.median(map(statistics.median, until_acted)) * MILLISECONDS,
        f"last_milliseconds_to_{actors}": statistics.median(map(max, until_acted)) * MILLISECONDS,
        f"learner_cpu_milliseconds_to_{actors}": published.cpu_seconds / len(published.times) * MILLISECONDS,
        f"cpu_milliseconds_to_{actors}": used / len(published.times) * MILLISECONDS,
        f"share_of_machine_to_{actors}": used / len(published.times) / period_seconds / cores.usable_cores(),
    }


def table(measured: Measured, options: argparse.Namespace, precision: str) -> Table:
    """A row for each number of actors."""
    columns = [
        "actors",
        "ms that a round waits",
        "ms until the middle one acts",
        "ms until the last one acts",
        "CPU ms, learner",
        "CPU ms, all",
        "share of the machine",
    ]
    rows = [
        [
            str(actors),
            measured.text(f"wait_milliseconds_to_{actors}", 1),
            measured.text(f"median_milliseconds_to_{actors}", 1),
            measured.text(f"last_milliseconds_to_{actors}", 1),
            measured.text(f"learner_cpu_milliseconds_to_{actors}", 1),
            measured.text(f"cpu_milliseconds_to_{actors}", 1),
            measured.text(f"share_of_machine_to_{actors}", 3),
        ]
        for actors in options.actors
    ]
    size = f"{measured.median('bytes'):,.0f} bytes"
    return Table(
        f"Weights of {options.network} in {precision}, {size}, at {options.steps_per_second:,} steps/s", columns, rows
    )


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--network", default="dqn-2013", choices=["dqn-2013", "dqn-2015", "mlp"])
    parser.add_argument("--actors", type=int, nargs="+", help="default 1 16 64, quick 1 4")
    parser.add_argument("--publications", type=int, help="for each number of actors; default 50, quick 3")
    parser.add_argument("--steps-per-second", type=int, default=2_000, help="rate of the run that publishes")
    training.add_flags(parser)
    options = parser.parse_args()
    options.actors = options.actors or ([1, 4] if options.quick else list(ACTORS))
    options.publications = options.publications or (3 if options.quick else 50)
    return options


if __name__ == "__main__":
    run_main(main)
