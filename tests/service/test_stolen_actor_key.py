"""What whoever has stolen an actor's folder of keys can do, and cannot: docs/security.md says the same in sentences."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from made_up import a_header
from secured_gate import ANY_PORT, SecuredGate, WaitingActor, service_sockets
from waiting import wait_until

from headrace_proto import keys
from headrace_proto.messages import SESSION_BYTES, WEIGHTS_TOPIC
from headrace_proto.sockets import ServiceSockets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def gate(folder: Path) -> Iterator[SecuredGate]:
    with closing(SecuredGate(folder)) as made:
        yield made


@pytest.fixture
def thief(folder: Path) -> Iterator[ServiceSockets]:
    with closing(service_sockets("actor", folder)) as sockets:
        yield sockets


def weights_address(gate: SecuredGate) -> str:
    return str(gate.publisher.getsockopt_string(zmq.LAST_ENDPOINT))


def test_it_can_pass_for_an_actor(folder: Path, gate: SecuredGate) -> None:
    with closing(WaitingActor(folder, gate.addresses["control"])) as actor:
        wait_until(actor.is_answered)


def test_it_cannot_play_in_a_session_that_it_does_not_know(gate: SecuredGate, thief: ServiceSockets) -> None:
    with thief.make(zmq.PUSH) as push:
        thief.connect(push, gate.addresses["transitions"], "transitions-address", server="gate")
        push.send_multipart([a_header(5, session=b"guess" + bytes(SESSION_BYTES - 5)).encode(), b"payload"])

        wait_until(lambda: gate.refused_messages > 0)

    assert gate.service.gate.ledger.accepted_total == 0


def test_it_cannot_report_as_the_learner(gate: SecuredGate, thief: ServiceSockets) -> None:
    with closing(WaitingActor(gate.folder, gate.addresses["control"])) as actor:
        wait_until(actor.is_answered)
        actor.dealer.recv()
        wait_until(lambda: not actor.dealer.poll(300) or not actor.dealer.recv())
        actor.dealer.send(gate.progress().encode())
        assert actor.dealer.poll(10_000)

    assert gate.service.gate.learner.progress is None


def test_what_it_says_on_the_learners_socket_reaches_no_subscriber(gate: SecuredGate, thief: ServiceSockets) -> None:
    with thief.make(zmq.XSUB) as forger, thief.make(zmq.SUB) as honest:
        honest.subscribe(b"")
        for socket in (honest, forger):
            thief.connect(socket, weights_address(gate), "weights-address", server="learner")
        wait_until(lambda: gate.publisher.poll(50) and gate.publisher.recv() == b"\x01")
        forger.send_multipart([WEIGHTS_TOPIC, b"forged"])
        wait_until(lambda: gate.publisher.poll(50) and gate.publisher.recv() == WEIGHTS_TOPIC)

        assert not honest.poll(300)


def hears_weights_of(server: keys.Role, subscriber_role: keys.Role, folder: Path) -> bool:
    """Whether a subscriber to the learner hears who holds the learner's address with the keys of a role."""
    with (
        closing(service_sockets(server, folder)) as sockets,
        sockets.make(zmq.XPUB) as publisher,
        closing(service_sockets(subscriber_role, folder)) as honest,
        honest.make(zmq.SUB) as subscriber,
    ):
        address = sockets.bind(publisher, ANY_PORT, "weights-bind", "weights", clients=["gate", "actor"])
        subscriber.subscribe(b"")
        honest.connect(subscriber, address, "weights-address", server="learner")
        for _ in range(15):
            publisher.send_multipart([WEIGHTS_TOPIC, b"weights"])
            if subscriber.poll(100):
                return True
        return False


@pytest.mark.parametrize("victim", ["actor", "gate"])
def test_it_cannot_publish_weights_or_progress_though_it_holds_the_learners_address(
    folder: Path, victim: keys.Role
) -> None:
    assert hears_weights_of("learner", victim, folder)
    assert not hears_weights_of("actor", victim, folder)


@pytest.mark.parametrize("victim", ["actor", "gate"])
def test_the_gates_key_does_not_publish_weights_either(folder: Path, victim: keys.Role) -> None:
    assert not hears_weights_of("gate", victim, folder)


def test_a_connection_that_stands_outlasts_its_retired_key(folder: Path, gate: SecuredGate) -> None:
    with closing(WaitingActor(folder, gate.addresses["control"])) as actor:
        wait_until(actor.is_answered)
        keys.rotate(folder, ["actor"])
        keys.retire(folder, ["actor"])
        actor.dealer.recv()

        wait_until(actor.is_answered)


def test_a_restart_with_new_keys_throws_the_thief_out(folder: Path, tmp_path: Path) -> None:
    stolen = shutil.copytree(folder, tmp_path / "stolen")
    with closing(SecuredGate(folder)) as before:
        address = before.addresses["control"]
        thief = WaitingActor(stolen, address)
        wait_until(thief.is_answered)
    while thief.dealer.poll(0):
        thief.dealer.recv()
    keys.rotate(folder, ["actor"])
    keys.retire(folder, ["actor"])

    with (
        closing(thief),
        closing(SecuredGate(folder, control_bind=address)) as gate,
        closing(WaitingActor(folder, address)) as honest,
    ):
        wait_until(honest.is_answered)

        def has_tried_twice() -> bool:
            assert not thief.is_answered()
            return gate.failures("control", "unknown_key") > 1

        wait_until(has_tried_twice)
