"""multiprocessing.Queue: no service, but a pipe and a lock that all processes share; what it carries is pickled."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Iterator
from typing import Any

from peers_queues import contest, experience
from peers_queues.contest import Contest, Producers
from peers_queues.experience import Experience, Transition


def produce(asked: Contest, transitions: Any) -> None:
    """Put for ever."""
    known = Experience.read(asked.frames, asked.payload)
    for rollout in known.forever():
        for transition in known.transitions(rollout):
            transitions.put(transition)


def receive(transitions: Any) -> Iterator[tuple[int, int]]:
    """Transitions and bytes of their states, as they come; a batch of them is stacked."""
    taken: list[Transition] = []
    while True:
        try:
            taken.append(transitions.get(timeout=contest.LOOK_SECONDS))
        except queue.Empty:
            yield 0, 0
            continue
        if len(taken) == experience.BATCH_SIZE:
            states = experience.batch(taken)
            taken = []
            yield experience.BATCH_SIZE, states["state"].nbytes + states["next_state"].nbytes


def main() -> None:
    """Measure it."""
    asked = Contest.read()
    transitions = multiprocessing.get_context("fork").Queue(asked.capacity)
    with Producers(asked.producers, produce, asked, transitions) as producers:
        contest.report(contest.measure(asked, producers, receive(transitions)))


if __name__ == "__main__":
    main()
