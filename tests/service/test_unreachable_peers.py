"""Peers that are out of reach without a word, as after a power failure: real TCP between network namespaces."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from chaos.network import CUT, Network
from chaos.wire import Link

pytestmark = [
    pytest.mark.skipif(bool(reason := Network.why_not()), reason=reason or "permitted"),
    pytest.mark.timeout(300),
]

EVENTS = """
import sys, threading, zmq
from headrace_proto import sockets
from zmq.utils.monitor import recv_monitor_message

def show(monitor):
    while True:
        print(zmq.Event(recv_monitor_message(monitor)["event"]).name, flush=True)

socket = sockets.context().socket(getattr(zmq, sys.argv[1]))
threading.Thread(target=show, args=[socket.get_monitor_socket()], daemon=True).start()
getattr(socket, sys.argv[2])(sys.argv[3])
for line in sys.stdin:
    socket.send(line.encode())
"""
"""A socket that prints what befalls it and sends each line of standard input: TYPE bind|connect ADDRESS."""


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(("gate", "learner"))
    yield made
    made.close()


@contextmanager
def a_socket(network: Network, host: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*network.command(host), sys.executable, "-c", EVENTS, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for(process: subprocess.Popen[str], event: str, times: int = 1) -> None:
    """As long as the test may last."""
    assert process.stdout is not None
    for line in process.stdout:
        times -= line.strip() == event
        if not times:
            return
    raise AssertionError(f"the socket ended without {event}")


def test_a_peer_that_vanishes_while_something_is_on_its_way_to_it_is_given_up(network: Network) -> None:
    address = f"tcp://{network.address('gate')}:5557"
    with (
        a_socket(network, "gate", "PUSH", "bind", address) as push,
        a_socket(network, "learner", "PULL", "connect", address),
    ):
        wait_for(push, "HANDSHAKE_SUCCEEDED")
        network.set(Link("gate", "learner", loss=CUT))
        network.set(Link("learner", "gate", loss=CUT))
        assert push.stdin is not None
        push.stdin.write("a batch\n")
        push.stdin.flush()
        wait_for(push, "DISCONNECTED")


def test_a_peer_out_of_reach_is_tried_again_soon(network: Network) -> None:
    network.set(Link("learner", "gate", loss=CUT))
    with a_socket(network, "learner", "PULL", "connect", f"tcp://{network.address('gate')}:5557") as pull:
        wait_for(pull, "CONNECT_RETRIED", times=3)
