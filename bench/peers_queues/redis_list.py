"""Redis: a list to which producers push, and from which the consumer pops up to 64 at once with BLMPOP.

As its documentation recommends for throughput: several values a command in place of a round trip each, the parser in
C (hiredis), no persistence where none is needed. A list has no bound, so producers look at the length that a push
returns, and wait.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator

import redis
from peers_queues import contest, experience
from peers_queues.contest import Contest, Producers
from peers_queues.experience import Experience

SERVER = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or "redis-server"
KEY = "transitions"
WAIT_SECONDS = 0.001


def produce(asked: Contest, port: int) -> None:
    """Push for ever, a rollout's transitions at once; wait while the list is longer than the capacity."""
    client = redis.Redis(port=port)
    known = Experience.read(asked.frames, asked.payload)
    most = asked.capacity // experience.transitions_in(asked.messages)
    for rollout in known.forever():
        if asked.messages == "rollouts":
            values = [experience.pack_rollout(rollout)]
        else:
            values = [experience.pack(transition) for transition in known.transitions(rollout)]
        length = client.rpush(KEY, *values)
        while length >= most:
            time.sleep(WAIT_SECONDS)
            length = client.llen(KEY)


def receive(asked: Contest, port: int) -> Iterator[tuple[int, int]]:
    """Transitions and bytes, as they come, stacked to a batch."""
    client = redis.Redis(port=port)
    most = experience.BATCH_SIZE // experience.transitions_in(asked.messages)
    while True:
        popped = client.blmpop(contest.LOOK_SECONDS, 1, KEY, direction="LEFT", count=most)
        if popped is None:
            yield 0, 0
            continue
        values: list[bytes] = popped[1]
        if asked.messages == "rollouts":
            taken = [step for value in values for step in experience.unpack_rollout(value, asked.payload)]
        else:
            taken = [experience.unpack(value, asked.payload) for value in values]
        experience.batch(taken)
        yield len(taken), sum(map(len, values))


def serve(port: int) -> subprocess.Popen[bytes]:
    """A server with its documented settings for a queue in memory, once it answers."""
    server = subprocess.Popen(  # noqa: S603 the command is our own
        [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port)
    while True:
        try:
            client.ping()
            return server
        except redis.ConnectionError:
            if server.poll() is not None:
                raise
            time.sleep(0.05)


def main() -> None:
    """Measure it."""
    asked = Contest.read()
    (port,) = contest.free_ports(1)
    server = serve(port)
    try:
        with Producers(asked.producers, produce, asked, port) as producers:
            contest.report(contest.measure(asked, producers, receive(asked, port), server.pid))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
