"""What subscribers say to the learner, and an end to those who say anything but what they want to hear.

ZeroMQ keeps all that they say until it is read here, without a limit.
"""

from __future__ import annotations

from collections import Counter

import zmq

from headrace_proto.connections import Connections, sender
from headrace_proto.errors import WireError
from headrace_proto.messages import PROGRESS_TOPIC, WEIGHTS_TOPIC

BURST = 1024
"""Messages heard before the learner's other sockets have their turn."""

MOST_OF_ONE_SENDER = 512
"""In a burst; an actor says two a second."""


def hear(publisher: zmq.Socket[bytes], connections: Connections) -> bool:
    """Take what subscribers have said, at most a burst; returns whether one of them asks for weights."""
    is_asked_for_weights = False
    heard: Counter[int] = Counter()
    for _ in range(BURST):
        try:
            frames = connections.receive(publisher)
        except zmq.Again:
            break
        except WireError:  # whoever sent it is cut off already
            continue
        said = frames[0].bytes if len(frames) == 1 else b""
        heard[sender(frames[0])] += 1
        if not _is_subscription(said) or heard[sender(frames[0])] > MOST_OF_ONE_SENDER:
            connections.cut(publisher, frames[0], "unexpected")
        is_asked_for_weights |= said[:1] == b"\x01" and WEIGHTS_TOPIC.startswith(said[1:])
    return is_asked_for_weights


def _is_subscription(said: bytes) -> bool:
    """Whether it begins or ends a subscription, 1 or 0 and a prefix of topics, to something that there is."""
    return said[:1] in (b"\x00", b"\x01") and any(
        topic.startswith(said[1:]) for topic in (WEIGHTS_TOPIC, PROGRESS_TOPIC)
    )
