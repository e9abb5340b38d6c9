"""What subscribers say to the learner: who says too much at once is cut off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from waiting import wait_until
from watched_socket import WatchedSocket

from headrace_learner.subscriptions import MOST_OF_ONE_SENDER, Subscriptions
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, WEIGHTS_TOPIC

TOPIC = WEIGHTS_TOPIC + bytes(SESSION_BYTES)


class Publishing(WatchedSocket):
    """The learner's XPUB, what is heard of its subscribers, and one subscriber."""

    def __init__(self) -> None:
        super().__init__(zmq.XPUB, "weights")
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.subscriptions = Subscriptions(self.socket, self.connections)
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.connect(self.bind())

    def ask_and_cease_to(self, times: int) -> None:
        """Under one topic; returns once all of it has come, and waits to be heard at once."""
        for _ in range(times):
            self.subscriber.subscribe(TOPIC)
            self.subscriber.unsubscribe(TOPIC)
        self.subscriber.subscribe(PROGRESS_TOPIC)  # ZeroMQ itself sends under a topic from when it has taken this in

        def is_taken_in() -> bool:
            self.socket.send_multipart([PROGRESS_TOPIC, b""])
            return self.subscriber.poll(50) != 0

        wait_until(is_taken_in)


@pytest.fixture
def publishing() -> Iterator[Publishing]:
    made = Publishing()
    yield made
    made.close()


def test_who_asks_very_often_at_once_is_cut_off_though_it_is_under_one_topic(publishing: Publishing) -> None:
    publishing.ask_and_cease_to(times=300)

    publishing.subscriptions.hear()

    assert publishing.cut("unexpected") == 1


def test_who_says_as_much_at_once_as_it_may_is_not_cut_off(publishing: Publishing) -> None:
    publishing.ask_and_cease_to(times=MOST_OF_ONE_SENDER // 2 - 1)

    publishing.subscriptions.hear()

    assert publishing.cut("unexpected") == 0
