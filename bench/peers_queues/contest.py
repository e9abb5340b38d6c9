"""What every queue is measured by: four producers, a service, one consumer, and what arrives in some seconds.

A queue is a module with a command of its own, run by the Python of its environment, which prints one JSON object: a
`Result`. So this module and `experience.py` import nothing that only one of the environments has.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

Payload = Literal["atari", "cartpole"]
Messages = Literal["transitions", "rollouts"]

LOOK_SECONDS = 0.2
"""A consumer that gets nothing says so after so long."""


@dataclass(frozen=True, slots=True)
class Contest:
    """What is carried, and how long.

    messages: whether one message is a transition with both its states, or a rollout of five that share frames
    is_opaque: nobody packs or unpacks anything; messages are made once and only counted
    frames: a file of raw frames
    """

    payload: Payload
    messages: Messages
    is_opaque: bool
    frames: Path
    producers: int
    seconds: float
    warm_up_seconds: float
    capacity: int

    def arguments(self) -> list[str]:
        """The command line that `read` reads."""
        return [json.dumps({**asdict(self), "frames": str(self.frames)})]

    @classmethod
    def read(cls) -> Contest:
        """From the command line of this process."""
        parser = argparse.ArgumentParser()
        parser.add_argument("contest", type=json.loads)
        fields = parser.parse_args().contest
        return cls(**{**fields, "frames": Path(fields["frames"])})


@dataclass(frozen=True, slots=True)
class Result:
    """What came out at the consumer, and the CPU time that it took: of all producers, the service, and the consumer."""

    transitions: int
    payload_bytes: int
    seconds: float
    producers_cpu_seconds: float = 0.0
    service_cpu_seconds: float = 0.0
    consumer_cpu_seconds: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Of all together."""
        return self.producers_cpu_seconds + self.service_cpu_seconds + self.consumer_cpu_seconds


class Producers(AbstractContextManager["Producers"]):
    """Processes that produce until the end of the block."""

    def __init__(self, count: int, produce: Callable[..., None], *arguments: Any) -> None:
        """Each runs `produce(*arguments)`, which never returns; forked, so that it finds what is imported here."""
        self._processes = [start(produce, *arguments) for _ in range(count)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def cpu_seconds(self) -> float:
        """Of all together."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def require_alive(self) -> None:
        """Raise RuntimeError if one has died."""
        dead = [process.exitcode for process in self._processes if not process.is_alive()]
        if dead:
            raise RuntimeError(f"a producer has died with exit status {dead[0]}")


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A forked process, gone with this one."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def measure(
    contest: Contest, producers: Producers, received: Iterable[tuple[int, int]], service: int | None = None
) -> Result:
    """Count what comes out after the warm-up.

    Args:
        contest: how long
        producers: who must go on producing
        received: transitions and bytes, as they come; (0, 0) where nothing has come for a moment
        service: process id of the service
    """
    arrivals = iter(received)
    for count, _ in arrivals:  # the first message ends the start-up, which is not measured
        producers.require_alive()
        if count:
            break
    _drain(arrivals, contest.warm_up_seconds)

    def used() -> tuple[float, float, float]:
        return producers.cpu_seconds(), cpu_seconds(service), cpu_seconds(os.getpid())

    before, began = used(), time.monotonic()
    transitions, payload_bytes = _drain(arrivals, contest.seconds)
    seconds, after = time.monotonic() - began, used()
    producers.require_alive()
    return Result(transitions, payload_bytes, seconds, *(end - start for end, start in zip(after, before, strict=True)))


def report(result: Result) -> None:
    """Print it as one JSON object."""
    print(json.dumps(asdict(result)), flush=True)


def cpu_seconds(process: int | None) -> float:
    """User and system time of a process, all its threads together; 0 for None."""
    if process is None:
        return 0.0
    # proc(5): utime and stime are fields 14 and 15, counted from the end of the name, which may contain anything.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(closing(socket.socket()))
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports


def _drain(arrivals: Iterable[tuple[int, int]], seconds: float) -> tuple[int, int]:
    transitions = payload_bytes = 0
    deadline = time.monotonic() + seconds
    for count, size in arrivals:
        transitions += count
        payload_bytes += size
        if time.monotonic() >= deadline:
            break
    return transitions, payload_bytes
