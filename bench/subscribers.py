"""Simulated actors that take weights and play nothing: the product's link and policy, many in a few processes.

They begin rounds as often as actors of a run do, and in turn, each with the version that was published last.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.managers import ValueProxy
from threading import Barrier, Event, Thread

import torch

from headrace_actor import policy
from headrace_actor.weights_link import WeightsLink
from headrace_proto import logs
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights

GENERATION = 1
"""Of all that `played.weights_of` publishes."""

WAIT_SECONDS = 0.2
"""What an actor waits at a time; see headrace_actor.service."""

START_SECONDS = 120.0
"""How long all of them have to start."""


@dataclass(slots=True)
class Sightings:
    """When one actor first saw which version: both rise. Times are of the machine's monotonic clock."""

    versions: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, version: int) -> None:
        """It sees that version now; nothing if it has seen it before."""
        if version > self.newest:
            self.versions.append(version)
            self.times.append(time.monotonic())

    @property
    def newest(self) -> int:
        """-1 before the first."""
        return self.versions[-1] if self.versions else -1

    def time_of(self, version: int) -> float:
        """When it first saw that version or a newer one; raises IndexError if it never did."""
        return self.times[bisect_left(self.versions, version)]


@dataclass(frozen=True, slots=True)
class Subscriber:
    """When an actor acted by which version, and how long each round waited that lacked the newest."""

    acted: Sightings = field(default_factory=Sightings)
    waits: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Host:
    """What the actors of one process did, and the CPU time that it took them."""

    subscribers: Sequence[Subscriber]
    cpu_seconds: float


def host(
    specification: RunSpecification,
    address: str,
    phases: Sequence[float],
    round_seconds: float,
    last_version: int,
    newest: ValueProxy[int],
    barrier: Barrier,
) -> Host:
    """Be an actor for each phase until all act by the last version; all have version 0 when the barrier opens.

    phases: seconds from the barrier to the beginning of an actor's first round; the next follow every `round_seconds`
    newest: the version that a grant would name
    """
    torch.set_num_threads(1)
    log = logs.configure("actor", "error")
    ready = Barrier(len(phases) + 1)
    subscribers: list[Subscriber] = []

    def act(actor: int) -> None:
        policy_of_it = policy.make(specification, actor)
        sockets = ServiceSockets("actor", ActorSettings(), log)
        with closing(sockets), closing(WeightsLink(sockets, address, policy_of_it.fits, log)) as link:
            policy_of_it.begin_round(_wait_for(link, 0))
            ready.wait(START_SECONDS)
            barrier_opens.wait(START_SECONDS)
            subscriber = Subscriber()
            begins_at = time.monotonic() + phases[actor]
            while subscriber.acted.newest < last_version:
                time.sleep(max(0.0, begins_at - time.monotonic()))
                begins_at += round_seconds
                version = newest.value
                began = time.monotonic()
                weights = _wait_for(link, version)
                policy_of_it.begin_round(weights)
                if weights.version > subscriber.acted.newest:
                    subscriber.waits.append(time.monotonic() - began)
                subscriber.acted.add(weights.version)
            subscribers.append(subscriber)

    barrier_opens = Event()
    threads = [Thread(target=act, args=[actor]) for actor in range(len(phases))]
    for thread in threads:
        thread.start()
    ready.wait(START_SECONDS)
    barrier.wait(START_SECONDS)
    before = time.process_time()
    barrier_opens.set()
    for thread in threads:
        thread.join()
    return Host(subscribers, time.process_time() - before)


def _wait_for(link: WeightsLink, version: int) -> Weights:
    while (weights := link.wait_for((GENERATION, version), WAIT_SECONDS)) is None:
        pass
    return weights


def delays(published: Sequence[float], sightings: Sequence[Sightings]) -> list[list[float]]:
    """Seconds from each version's time until each actor saw it or a newer one: a list for each version.

    published: the time of version 1, of version 2, and so on
    """
    return [[seen.time_of(version) - at for seen in sightings] for version, at in enumerate(published, start=1)]
