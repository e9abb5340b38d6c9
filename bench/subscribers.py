"""Simulated actors that take weights and do nothing else: the product's link and policy, many in a few processes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Barrier, Thread

import torch

from headrace_actor import policy
from headrace_actor.weights_link import WeightsLink
from headrace_proto import logs
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification

WAIT_SECONDS = 0.2
"""What an actor waits at a time; see headrace_actor.service."""

START_SECONDS = 120.0
"""How long all of them have to start."""


@dataclass(frozen=True, slots=True)
class Acts:
    """When one actor first acted by which version: both rise. Times are of the machine's monotonic clock."""

    versions: Sequence[int]
    times: Sequence[float]

    def time_of(self, version: int) -> float:
        """When it first acted by that version or a newer one; raises IndexError if it never did."""
        return self.times[bisect_left(self.versions, version)]


@dataclass(frozen=True, slots=True)
class Host:
    """What the actors of one process did, and the CPU time that it took them."""

    acts: Sequence[Acts]
    cpu_seconds: float


def host(specification: RunSpecification, address: str, actors: int, last_version: int, barrier: Barrier) -> Host:
    """Be so many actors until each acts by the last version; all have version 0 when the barrier opens."""
    torch.set_num_threads(1)
    log = logs.configure("actor", "error")
    ready = Barrier(actors + 1)
    acts: list[Acts] = []

    def act(actor: int) -> None:
        policy_of_it = policy.make(specification, actor)
        sockets = ServiceSockets("actor", ActorSettings(), log)
        with closing(sockets), closing(WeightsLink(sockets, address, policy_of_it.fits, log)) as link:
            versions: list[int] = []
            times: list[float] = []
            while not versions or versions[-1] < last_version:
                link.drain(WAIT_SECONDS)
                found = link.newest
                if found is not None and (not versions or found.version > versions[-1]):
                    policy_of_it.begin_round(found)
                    versions.append(found.version)
                    times.append(time.monotonic())
                    if len(versions) == 1:
                        ready.wait(START_SECONDS)
            acts.append(Acts(versions, times))

    threads = [Thread(target=act, args=[actor]) for actor in range(actors)]
    for thread in threads:
        thread.start()
    ready.wait(START_SECONDS)
    barrier.wait(START_SECONDS)
    before = time.process_time()
    for thread in threads:
        thread.join()
    return Host(acts, time.process_time() - before)


def delays(published: Sequence[float], acts: Sequence[Acts]) -> list[list[float]]:
    """Seconds from each version's time until each actor acts by it or by a newer one: a list for each version.

    published: the time of version 1, of version 2, and so on
    """
    return [[actor.time_of(version) - at for actor in acts] for version, at in enumerate(published, start=1)]
