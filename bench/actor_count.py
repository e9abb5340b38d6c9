"""What connected actors cost the gate: CPU time a transition, memory an actor, and each actor's share at saturation."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measurement
import psutil
import simulated_actors
from gate_process import GateProcess
from measurement import Measured, Table
from peers_queues import contest
from peers_queues.contest import Producers
from simulated_learner import SimulatedLearner

from headrace_local.launch import short_temporary_folder
from headrace_proto.specification import RunSpecification

PAYLOAD_BYTES = 240
"""A rollout of five steps of CartPole."""
POLL_SECONDS = 0.2
JOINING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What some connected actors cost.

    cpu_microseconds: the gate's CPU time for each transition that was trained
    resident_bytes: the gate's memory
    slowest_share: credits of the slowest actor over the mean of all
    """

    transitions_per_second: float
    cpu_microseconds: float
    resident_bytes: float
    slowest_share: float


def one_round(run: RunSpecification, counts: Sequence[int], seconds: float, capacity: int) -> Mapping[str, float]:
    """Measure every number of actors, and compare the most with the fewest."""
    costs = {count: _cost(run, count, seconds, capacity) for count in counts}
    named = {
        f"{name}_of_{count}": float(getattr(cost, name))
        for count, cost in costs.items()
        for name in ("transitions_per_second", "cpu_microseconds", "resident_bytes", "slowest_share")
    }
    return named | compared(costs)


def compared(costs: Mapping[int, Cost]) -> dict[str, float]:
    """Growth of the CPU time a transition and bytes an actor, from the fewest to the most; the smallest share."""
    fewest, most = min(costs), max(costs)
    few, many = costs[fewest], costs[most]
    return {
        "cpu_growth": many.cpu_microseconds / few.cpu_microseconds - 1,
        "bytes_per_actor": (many.resident_bytes - few.resident_bytes) / max(1, most - fewest),
        "slowest_share": min(cost.slowest_share for cost in costs.values()),
    }


def slowest_share(credits_used: Sequence[int]) -> float:
    """Credits of the slowest over the mean; 0 where nobody had any."""
    mean = statistics.fmean(credits_used)
    return min(credits_used) / mean if mean else 0.0


def table(measured: Measured, counts: Sequence[int]) -> Table:
    """One row for each number of actors."""
    rows = [
        [
            f"{count:,}",
            measured.text(f"transitions_per_second_of_{count}"),
            measured.text(f"cpu_microseconds_of_{count}", 1),
            f"{measured.median(f'resident_bytes_of_{count}') / 2**20:,.0f}",
            measured.text(f"slowest_share_of_{count}", 2),
        ]
        for count in counts
    ]
    rows.append(
        [
            f"{max(counts):,} over {min(counts):,}",
            "",
            f"{measured.median('cpu_growth'):+.0%}",
            f"{measured.median('bytes_per_actor') / 1024:,.0f} KiB an actor",
            "",
        ]
    )
    columns = ["actors", "transitions/s", "CPU us a transition", "MiB", "slowest / mean credits"]
    return Table("The gate and its actors", columns, rows)


def _cost(run: RunSpecification, count: int, seconds: float, capacity: int) -> Cost:
    measurement.say(f"  {count} actors")
    used = multiprocessing.get_context("fork").Array("Q", count, lock=False)
    with short_temporary_folder() as folder, GateProcess(Path(folder), capacity) as gate:
        addresses = gate.addresses
        learner = SimulatedLearner(run, addresses.weights, addresses.batches)
        arguments = addresses.control, count, PAYLOAD_BYTES, used
        with Producers(1, simulated_actors.play, *arguments) as producers:
            try:
                received = learner.receive_forever(POLL_SECONDS)
                _wait_for_all(received, used, producers)
                return _measured(received, used, gate, seconds)
            finally:
                learner.close()


def _wait_for_all(received: Iterator[tuple[int, int]], used: Any, producers: Producers) -> None:
    """Until every actor has used a credit."""
    deadline = time.monotonic() + JOINING_SECONDS
    for _ in received:
        if min(used):
            return
        producers.require_alive()
        if time.monotonic() > deadline:
            playing = sum(1 for credits_used in used if credits_used)
            raise RuntimeError(f"after {JOINING_SECONDS:.0f} s only {playing} of {len(used)} actors play")


def _measured(received: Iterator[tuple[int, int]], used: Any, gate: GateProcess, seconds: float) -> Cost:
    gate.require_alive()
    used_before, cpu, began = list(used), contest.cpu_seconds(gate.pid), time.monotonic()
    transitions = 0
    for count, _ in received:
        transitions += count
        if time.monotonic() - began >= seconds:
            break
    elapsed = time.monotonic() - began
    gate.require_nothing_lost()
    return Cost(
        transitions_per_second=transitions / elapsed,
        cpu_microseconds=(contest.cpu_seconds(gate.pid) - cpu) / max(1, transitions) * 1e6,
        resident_bytes=float(psutil.Process(gate.pid).memory_info().rss),
        slowest_share=slowest_share([after - before for after, before in zip(used, used_before, strict=True)]),
    )
