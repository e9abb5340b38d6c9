"""The gate beside a raw forwarder and other queues, and what connected actors cost it.

Four producers, a service, one consumer, real sockets. Messages are equal where gate and raw forwarder are compared; the
others are used as their documentation recommends. With --actors it measures the gate's CPU time and memory instead, for
so many connected actors.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import actor_count
import measurement
import payloads
import queue_contests
from measurement import Round
from peers_queues.contest import Contest, Messages, Payload
from peers_queues.environments import UnavailableError
from peers_queues.our_gate import a_run
from queue_contests import MESSAGES, OURS, PAYLOADS, PEERS, RAW, Queue

from headrace_proto.lifecycle import run_main

DEFAULT_CAPACITY = 256


class Rounds:
    """Measures every queue once a round; what is unavailable is said once and left out."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.unavailable: dict[str, str] = {}
        self._frames = {payload: payloads.record(a_run(payload), folder / payload) for payload in options.payloads}
        self._options = options
        self._peers = [peer for peer in PEERS if options.peers is None or peer.name in options.peers]

    def one_round(self) -> Round:
        """Everything that is compared, in turn."""
        values: dict[str, float] = {}
        for payload in self._options.payloads:
            for messages in MESSAGES:
                for queue in (RAW, OURS):
                    values |= self._measure(queue, payload, messages, is_opaque=True)
        for payload in self._options.payloads:
            for queue in (OURS, *self._peers):
                values |= self._measure(queue, payload, queue.messages, is_opaque=False)
        return values | queue_contests.equal_ratios(values) | queue_contests.user_ratios(values)

    def _measure(self, queue: Queue, payload: Payload, messages: Messages, *, is_opaque: bool) -> dict[str, float]:
        if queue.name in self.unavailable:
            return {}
        queue_contests.note(f"{queue.title}, {payload}, {messages}{', opaque' if is_opaque else ''}")
        asked = Contest(
            payload=payload,
            messages=messages,
            is_opaque=is_opaque,
            frames=self._frames[payload],
            producers=self._options.producers,
            seconds=self._options.seconds,
            warm_up_seconds=self._options.seconds / 2,
            capacity=queue.bound or self._options.capacity,
        )
        prefix = f"{queue.name}_{payload}_{messages}" if is_opaque else f"user_{queue.name}_{payload}"
        try:
            result = queue_contests.run(queue, asked, may_install=not self._options.quick)
            return queue_contests.named(prefix, result, messages)
        except UnavailableError as error:
            if queue in (OURS, RAW):
                raise
            self.unavailable[queue.name] = "not measured"
            measurement.say(f"  not measured: {error}")
            return {}


def main() -> None:
    """Measure and report."""
    options = _options()
    if options.actors:
        _measure_actors(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(Path(folder), options)
        measured = measurement.measure(rounds.one_round, options)
    tables = [queue_contests.equal_table(measured), queue_contests.user_table(measured, rounds.unavailable)]
    measurement.report("gate", tables, measured, options, {"unavailable": rounds.unavailable})


def _measure_actors(options: argparse.Namespace) -> None:
    run = a_run("cartpole")
    counts: Sequence[int] = options.actors
    measured = measurement.measure(
        lambda: actor_count.one_round(run, counts, options.seconds, options.capacity), options
    )
    measurement.report("gate", [actor_count.table(measured, counts)], measured, options, mark="gate-actors")


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--seconds", type=float, help="of each measurement; default 4, with --actors 10")
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--capacity", type=int, default=DEFAULT_CAPACITY, help="the gate's")
    parser.add_argument("--payloads", nargs="+", choices=PAYLOADS, default=PAYLOADS)
    parser.add_argument(
        "--peers", type=_names, help=f"which others, separated by commas: {', '.join(peer.name for peer in PEERS)}"
    )
    parser.add_argument("--actors", type=_counts, help="numbers of connected actors, e.g. 4,64,1000")
    options = parser.parse_args()
    if options.seconds is None:
        options.seconds = 0.5 if options.quick else 10.0 if options.actors else 4.0
    return options


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - {peer.name for peer in PEERS}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no such queue")
    return names


def _counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text}: allowed: numbers of at least 1")
    return counts


if __name__ == "__main__":
    run_main(main)
