"""What subscribers say to the learner, and an end to those who say anything but what they want to hear.

ZeroMQ keeps all that they say until it is read here, without a limit.
"""

from __future__ import annotations

from collections import Counter

import zmq

from headrace_proto.connections import Connections, sender
from headrace_proto.errors import WireError
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, WEIGHTS_TOPIC

BURST = 1024
"""Messages heard before the learner's other sockets have their turn."""

MOST_OF_ONE_SENDER = 512
"""In a burst; an actor says two a round."""


SAME_AGAIN_SECONDS = 0.5
"""Before a connection is sent the same weights once more: an actor whose answer is lost asks again after a second."""


class Answers:
    """Which connection was sent which publication, and when: who asks more often than an actor is sent no more."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[int, float]] = {}

    def may_send(self, connection: int, publication: int, now: float) -> bool:
        """Whether to answer a connection, by its file descriptor, with a publication now; then that is its last."""
        last, at = self._sent.get(connection, (-1, 0.0))
        if last == publication and now - at < SAME_AGAIN_SECONDS:
            return False
        self._sent[connection] = (publication, now)
        return True


def hear(publisher: zmq.Socket[bytes], connections: Connections) -> dict[bytes, int]:
    """Take what subscribers have said, at most a burst.

    Returns the topics under which weights are asked for, each with the file descriptor of the connection that asks.
    """
    asked: dict[bytes, int] = {}
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
        elif _asks_for_weights(said):
            asked[said[1:]] = sender(frames[0])
    return asked


def _is_subscription(said: bytes) -> bool:
    """Whether it begins or ends a subscription, 1 or 0 and a topic or its beginning, to something that there is."""
    topic = said[1:]
    return said[:1] in (b"\x00", b"\x01") and (
        WEIGHTS_TOPIC.startswith(topic) or PROGRESS_TOPIC.startswith(topic) or _is_of_one_actor(topic)
    )


def _asks_for_weights(said: bytes) -> bool:
    return said[:1] == b"\x01" and _is_of_one_actor(said[1:])


def _is_of_one_actor(topic: bytes) -> bool:
    return topic.startswith(WEIGHTS_TOPIC) and len(topic) == len(WEIGHTS_TOPIC) + SESSION_BYTES
