"""What subscribers say to the learner: who says too much at once is cut off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from prometheus_client import CollectorRegistry
from secured_gate import quiet_log
from waiting import wait_until

from headrace_learner.subscriptions import MOST_OF_ONE_SENDER, Subscriptions
from headrace_proto.connection_metrics import ConnectionMetrics
from headrace_proto.connections import Connections
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, WEIGHTS_TOPIC

TOPIC = WEIGHTS_TOPIC + bytes(SESSION_BYTES)


class Publishing:
    """The learner's XPUB on tcp, what is heard of its subscribers, and one subscriber."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.registry = CollectorRegistry()
        self.publisher = self.context.socket(zmq.XPUB)
        self.publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        port = self.publisher.bind_to_random_port("tcp://127.0.0.1")
        connections = Connections(ConnectionMetrics(self.registry), quiet_log())
        connections.watch(self.publisher, "weights")
        self.subscriptions = Subscriptions(self.publisher, connections)
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.connect(f"tcp://127.0.0.1:{port}")

    def ask_and_cease_to(self, times: int) -> None:
        """Under one topic; returns once all of it has come, and waits to be heard at once."""
        for _ in range(times):
            self.subscriber.subscribe(TOPIC)
            self.subscriber.unsubscribe(TOPIC)
        self.subscriber.subscribe(PROGRESS_TOPIC)  # ZeroMQ itself sends under a topic from when it has taken this in

        def is_taken_in() -> bool:
            self.publisher.send_multipart([PROGRESS_TOPIC, b""])
            return self.subscriber.poll(50) != 0

        wait_until(is_taken_in)

    def cut(self) -> float:
        labels = {"socket": "weights", "reason": "unexpected"}
        return self.registry.get_sample_value("headrace_connections_cut_total", labels) or 0.0


@pytest.fixture
def publishing() -> Iterator[Publishing]:
    made = Publishing()
    yield made
    made.context.destroy(linger=0)


def test_who_asks_very_often_at_once_is_cut_off_though_it_is_under_one_topic(publishing: Publishing) -> None:
    publishing.ask_and_cease_to(times=300)

    publishing.subscriptions.hear()

    assert publishing.cut() == 1


def test_who_says_as_much_at_once_as_it_may_is_not_cut_off(publishing: Publishing) -> None:
    publishing.ask_and_cease_to(times=MOST_OF_ONE_SENDER // 2 - 1)

    publishing.subscriptions.hear()

    assert publishing.cut() == 0
