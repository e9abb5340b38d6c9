"""The floor: a process that forwards messages from PULL to PUSH in C, with no bound but ZeroMQ's own marks.

1,000 messages a connection may be under way, as ZeroMQ has it where nobody says otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import zmq
from peers_queues import contest, experience
from peers_queues.contest import Contest, Producers
from peers_queues.experience import Experience

from headrace_proto.messages import SESSION_BYTES, RolloutHeader

HEADER = RolloutHeader(
    session=b"s" * SESSION_BYTES, actor=1, credit=1000, part=3, final=False, count=1, generation=1, weights_version=1000
).encode()
"""As long as those of our gate: the messages are equal."""


def forward(front: str, back: str) -> None:
    """Forward for ever."""
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind(front)
    push.bind(back)
    zmq.proxy(pull, push)


def produce(asked: Contest, front: str) -> None:
    """Send for ever."""
    push = zmq.Context().socket(zmq.PUSH)
    push.connect(front)
    payloads = experience.opaque(Experience.read(asked.frames, asked.payload), asked.messages)
    for payload in itertools.cycle(payloads):
        push.send_multipart([HEADER, payload])


def receive(asked: Contest, back: str) -> Iterator[tuple[int, int]]:
    """Transitions and bytes, as they come."""
    pull = zmq.Context().socket(zmq.PULL)
    pull.connect(back)
    transitions = experience.transitions_in(asked.messages)
    while True:
        if not pull.poll(round(contest.LOOK_SECONDS * 1000)):
            yield 0, 0
            continue
        for _ in range(experience.BATCH_SIZE):
            try:
                frames = pull.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            yield transitions, len(frames[1])


def main() -> None:
    """Measure it."""
    asked = Contest.read()
    front, back = (f"tcp://127.0.0.1:{port}" for port in contest.free_ports(2))
    service = contest.start(forward, front, back)
    with Producers(asked.producers, produce, asked, front) as producers:
        contest.report(contest.measure(asked, producers, receive(asked, back), service.pid))
    service.kill()
    service.join()


if __name__ == "__main__":
    main()
