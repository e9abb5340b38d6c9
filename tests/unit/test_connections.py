"""Connections of a bound socket: who sends too many frames is cut off, and who cannot be told is let be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from waiting import wait_until
from watched_socket import WatchedSocket
from zmq.utils.monitor import recv_monitor_message

from headrace_proto import connections
from headrace_proto.errors import WireError


class Bound(WatchedSocket):
    """A PULL socket, and who pushes."""

    def __init__(self) -> None:
        super().__init__(zmq.PULL, "transitions")
        self.open: list[zmq.Socket[bytes]] = []
        self.pull = self.socket
        self.accepted = self.pull.get_monitor_socket(zmq.EVENT_ACCEPTED)
        self.address = self.bind()

    def push(self, frames: list[bytes]) -> zmq.Socket[bytes]:
        pushing = self.context.socket(zmq.PUSH)
        self.open.append(pushing)
        pushing.connect(self.address)
        pushing.send_multipart(frames)
        assert self.pull.poll(10_000)
        return pushing

    def next(self) -> zmq.Frame:
        assert self.pull.poll(10_000)
        return self.connections.receive(self.pull)[0]

    def accept(self) -> None:
        """Hear of new connections, as the watch over handshakes does."""
        while self.accepted.poll(0):
            self.connections.accepted(self.name, recv_monitor_message(self.accepted)["value"])

    def cut(self, reason: str) -> float:
        self.accept()
        return super().cut(reason)


@pytest.fixture
def bound() -> Iterator[Bound]:
    made = Bound()
    yield made
    made.close()


def test_a_message_comes_as_it_is_and_an_empty_socket_says_so(bound: Bound) -> None:
    bound.push([b"a", b"b"])

    assert [frame.bytes for frame in bound.connections.receive(bound.pull)] == [b"a", b"b"]
    with pytest.raises(zmq.Again):
        bound.connections.receive(bound.pull)


def test_who_sends_very_many_frames_is_cut_off_and_the_next_message_is_whole(bound: Bound) -> None:
    bound.push([b"x"] * (connections.MOST_FRAMES + 5))

    with pytest.raises(WireError) as refusal:
        bound.connections.receive(bound.pull)

    assert refusal.value.reason == "frame_count"
    assert bound.cut("frame_count") == 1
    bound.push([b"next"])
    assert [frame.bytes for frame in bound.connections.receive(bound.pull)] == [b"next"]


def test_a_host_from_which_somebody_was_cut_off_is_let_in_again_after_a_pause_and_keeps_what_it_has(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PAUSE_SECONDS", 3600.0)
    honest = bound.push([b"a"])
    assert bound.next().bytes == b"a"
    offender = bound.push([b"b"])
    offence = bound.next()
    bound.connections.cut(bound.pull, offence, "oversized")

    # ZeroMQ reconnects the offender by itself, again and again.
    wait_until(lambda: bound.cut("paused") > 1)
    honest.send(b"still here")
    assert bound.next().bytes == b"still here"

    bound.connections._paused_until.clear()
    offender.send(b"back")
    assert bound.next().bytes == b"back"


def test_a_connection_is_ended_before_its_beginning_has_been_heard_of_and_not_twice(bound: Bound) -> None:
    pushing = bound.push([b"a"])
    (frame,) = bound.connections.receive(bound.pull)

    with pushing.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
        for _ in range(3):
            bound.connections.cut(bound.pull, frame, "unexpected")
        wait_until(lambda: monitor.poll(50) != 0)
    pushing.disable_monitor()

    assert bound.cut("unexpected") == 1


def test_a_new_connection_can_be_ended_at_once_whoever_had_its_descriptor_before(bound: Bound) -> None:
    for _ in range(2):
        pushing = bound.push([b"a"])
        bound.accept()
        bound.connections.cut(bound.pull, bound.next(), "unexpected")
        bound.connections._paused_until.clear()
        pushing.close(linger=0)

    assert bound.cut("unexpected") == 2


def test_a_frame_that_tells_no_connection_ends_none(bound: Bound) -> None:
    bound.connections.cut(bound.pull, zmq.Frame(b"from nowhere"), "unexpected")

    assert bound.cut("unexpected") == 0


def test_of_too_many_connections_the_longest_silent_one_is_ended(bound: Bound) -> None:
    bound.connections._most = 2

    for descriptor in (1001, 1002, 1003):
        bound.connections.accepted("transitions", descriptor)

    assert bound.cut("connections") == 1
    assert list(bound.connections._open["transitions"]) == [1002, 1003]
