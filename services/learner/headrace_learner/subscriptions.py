"""What subscribers say to the learner, which of them are answered, and an end to those who say anything else.

The gate subscribes to PROGRESS. An actor asks for weights by a subscription to a topic of its own, see section 7 of the
wire's page. ZeroMQ keeps all that they say until it is read here, without a limit.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import zmq

from headrace_proto.connections import Connections, sender
from headrace_proto.errors import WireError
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, WEIGHTS_TOPIC

BURST = 1024
"""Messages heard before the learner's other sockets have their turn."""

MOST_OF_ONE_SENDER = 512
"""In a burst; an actor says two a round."""

MOST_TOPICS = 4
"""At once of one connection; an actor has one, and the next while the end of the last is on its way."""

SAME_AGAIN_SECONDS = 0.5
"""Before a connection is sent the same weights once more: an actor whose answer is lost asks again after a second."""


class Subscriptions:
    """The topics under which weights are asked for, and what each connection was sent last."""

    def __init__(self, publisher: zmq.Socket[bytes], connections: Connections) -> None:
        self._publisher = publisher
        self._connections = connections
        self._askers: dict[bytes, int] = {}
        self._topics: defaultdict[int, set[bytes]] = defaultdict(set)
        self._sent: dict[int, tuple[int, float]] = {}

    @property
    def topics(self) -> list[bytes]:
        """All under which weights are asked for now, answered or not."""
        return list(self._askers)

    def hear(self) -> list[bytes]:
        """Take what subscribers have said, at most a burst; returns the topics under which weights are asked for."""
        asked: dict[bytes, None] = {}
        heard: Counter[int] = Counter()
        for _ in range(BURST):
            try:
                frames = self._connections.receive(self._publisher)
            except zmq.Again:
                break
            except WireError:  # whoever sent it is cut off already
                continue
            said = frames[0].bytes if len(frames) == 1 else b""
            connection = sender(frames[0])
            heard[connection] += 1
            if not self._is_allowed(said, connection) or heard[connection] > MOST_OF_ONE_SENDER:
                self._connections.cut(self._publisher, frames[0], "unexpected")
            elif _is_of_one_actor(said[1:]):
                self._note(said, connection)
                if said[:1] == b"\x01":
                    asked[said[1:]] = None
        return [topic for topic in asked if topic in self._askers]

    def may_send(self, topic: bytes, publication: int, now: float) -> bool:
        """Whether to answer under a topic with a publication now; then its connection was sent that one last."""
        connection = self._askers[topic]
        last, at = self._sent.get(connection, (-1, 0.0))
        if last == publication and now - at < SAME_AGAIN_SECONDS:
            return False
        self._sent[connection] = (publication, now)
        return True

    def _is_allowed(self, said: bytes, connection: int) -> bool:
        """Whether it begins or ends a subscription to a topic that there is, and not to too many."""
        topic = said[1:]
        if said[:1] not in (b"\x00", b"\x01") or not (topic == PROGRESS_TOPIC or _is_of_one_actor(topic)):
            return False
        return said[:1] == b"\x00" or len(self._topics.get(connection, set()) - {topic}) < MOST_TOPICS

    def _note(self, said: bytes, connection: int) -> None:
        topic = said[1:]
        if said[:1] == b"\x01":
            self._askers[topic] = connection
            self._topics[connection].add(topic)
            return
        asker = self._askers.pop(topic, connection)
        self._topics[asker].discard(topic)
        if not self._topics[asker]:
            del self._topics[asker]
        if connection == -1:  # said by ZeroMQ, of a connection that has ended: its descriptor may become another's
            self._sent.pop(asker, None)


def _is_of_one_actor(topic: bytes) -> bool:
    return topic.startswith(WEIGHTS_TOPIC) and len(topic) == len(WEIGHTS_TOPIC) + SESSION_BYTES
