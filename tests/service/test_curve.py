"""CURVE on real sockets: known keys work, and whoever else connects gets nothing in and nothing out."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from secured_gate import ANY_PORT, SecuredGate, WaitingActor, quiet_log, service_sockets
from waiting import wait_until

from headrace_proto import keys, messages
from headrace_proto.curve import Curve
from headrace_proto.errors import HeadraceError, UserError
from headrace_proto.keys import Keyring, Role
from headrace_proto.messages import Join, Leave, RolloutHeader
from headrace_proto.sockets import ServiceSockets, is_loopback

NO_KEYS = {"not_curve", "broken"}
"""The reasons for a stranger without keys, as it is the gate or the stranger that sees first that they differ."""


def joins(sockets: ServiceSockets, address: str, milliseconds: int = 10_000) -> bool:
    """Whether an actor's JOIN at an address is answered in time."""
    with sockets.make(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.routing_id = b"A" * 16
        sockets.connect(dealer, address, "gate-address", server="gate")
        dealer.send(Join(host="test").encode())
        if not dealer.poll(milliseconds):
            return False
        # A gate that has not met its learner says so.
        assert messages.decode(Leave, dealer.recv()).code == "not_ready"
        return True


def wait_until_refused(gate: SecuredGate, sockets: ServiceSockets, *reasons: str) -> None:
    """Ask to join until the gate counts a failed handshake for one of the reasons; nothing may be answered."""

    def is_refused() -> bool:
        assert not joins(sockets, gate.addresses["control"], milliseconds=500)
        return gate.failures("control", *reasons) > 0

    wait_until(is_refused)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def gate(folder: Path) -> Iterator[SecuredGate]:
    with closing(SecuredGate(folder)) as made:
        yield made


def test_an_actor_with_its_key_is_answered_and_no_failure_is_counted(gate: SecuredGate) -> None:
    with closing(service_sockets("actor", gate.folder)) as actor:
        assert joins(actor, gate.addresses["control"])

    reasons = ("unknown_key", "wrong_server_key", "not_curve", "broken")
    sockets = ("transitions", "control", "batches")
    assert gate.all_failures == {(socket, reason): 0.0 for socket in sockets for reason in reasons}


def test_the_gate_hears_its_learner(gate: SecuredGate) -> None:
    with gate.learner.make(zmq.PULL) as batches:
        gate.learner.connect(batches, gate.addresses["batches"], "batches-address", server="gate")

        wait_until(lambda: gate.greets(batches))


def stranger(tmp_path: Path, gate: SecuredGate, kind: str) -> ServiceSockets:
    """Sockets of somebody who may not connect to the gate, or not in the part that is tried."""
    if kind == "no keys":
        return service_sockets("actor", None)
    if kind == "the learner's key":
        return service_sockets("learner", gate.folder)
    if kind == "the actor's key":
        return service_sockets("actor", gate.folder)
    keys.make(tmp_path / "foreign")
    foreign = tmp_path / "foreign" / "actor"
    if kind == "an unknown key":
        public = gate.folder / "actor" / "gate.pub"
        (foreign / "gate.pub").unlink()
        (foreign / "gate.pub").write_bytes(public.read_bytes())
    return service_sockets("actor", foreign.parent)


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        ("an unknown key", {"unknown_key"}),
        ("the learner's key", {"unknown_key"}),
        ("the wrong server key", {"wrong_server_key"}),
        ("no keys", NO_KEYS),
    ],
)
def test_a_stranger_gets_nothing_in_and_nothing_out(
    gate: SecuredGate, tmp_path: Path, kind: str, reasons: set[str]
) -> None:
    header = RolloutHeader(
        session=b"S" * 16, actor=0, credit=1, part=0, final=True, count=5, generation=1, weights_version=0
    )
    with (
        closing(stranger(tmp_path, gate, kind)) as sockets,
        sockets.make(zmq.DEALER) as control,
        sockets.make(zmq.PUSH) as transitions,
    ):
        control.linger = transitions.linger = 0
        sockets.connect(control, gate.addresses["control"], "gate-address", server="gate")
        sockets.connect(transitions, gate.addresses["transitions"], "transitions-address", server="gate")
        control.send(Join(host="stranger").encode())
        transitions.send_multipart([header.encode(), b"payload"])

        def has_tried_twice() -> bool:
            sockets.reconnect_refused()
            return all(gate.failures(socket, *reasons) > 1 for socket in ("control", "transitions"))

        wait_until(has_tried_twice)

        assert not control.poll(0)
    assert gate.refused_messages == 0
    with closing(service_sockets("actor", gate.folder)) as honest:
        assert joins(honest, gate.addresses["control"])


@pytest.mark.parametrize("kind", ["an unknown key", "the actor's key"])
def test_only_the_learners_key_takes_batches(gate: SecuredGate, tmp_path: Path, kind: str) -> None:
    with (
        closing(stranger(tmp_path, gate, kind)) as sockets,
        sockets.make(zmq.PULL) as batches,
        gate.learner.make(zmq.PULL) as honest,
    ):
        sockets.connect(batches, gate.addresses["batches"], "batches-address", server="gate")

        def has_tried_twice() -> bool:
            assert not gate.greets(batches)
            sockets.reconnect_refused()
            return gate.failures("batches", "unknown_key") > 1

        wait_until(has_tried_twice)
        gate.learner.connect(honest, gate.addresses["batches"], "batches-address", server="gate")
        wait_until(lambda: gate.greets(honest))

        assert not batches.poll(0)


def test_without_keys_a_stranger_is_given_batches(tmp_path: Path) -> None:
    with (
        closing(SecuredGate(tmp_path, has_keys=False)) as gate,
        closing(service_sockets("actor", None)) as stranger,
        stranger.make(zmq.PULL) as batches,
    ):
        stranger.connect(batches, gate.addresses["batches"], "batches-address", server="gate")

        wait_until(lambda: gate.greets(batches))


def test_nobody_is_let_in_when_nobody_answers_for_the_keys(gate: SecuredGate) -> None:
    curve = gate.service._sockets._curve
    assert curve is not None
    curve.close()

    with closing(WaitingActor(gate.folder, gate.addresses["control"])) as actor:
        wait_until(lambda: sum(gate.all_failures.values()) > 1)
        assert not actor.is_answered()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_service_whose_thread_for_keys_has_died_says_so_and_can_still_be_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = service_sockets("gate", folder)
    address = gate.bind(gate.make(zmq.ROUTER), ANY_PORT, "control-bind", "control", clients=["actor"])
    gate.reconnect_refused()
    curve = gate._curve
    assert curve is not None

    async def dies(message: list[bytes]) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(curve._authenticator, "handle_zap_message", dies)
    with closing(WaitingActor(folder, address)):
        wait_until(lambda: not curve._authenticator.is_alive())

    with pytest.raises(HeadraceError, match="nobody can connect any more; start this service again"):
        gate.reconnect_refused()
    gate.close(linger=0)


def test_an_error_about_one_clients_key_keeps_nobody_else_out(
    gate: SecuredGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = Keyring.accepted
    asked: list[int] = []

    def fails_once(keyring: Keyring, roles: list[Role]) -> frozenset[bytes]:
        asked.append(1)
        if len(asked) == 1:
            raise RecursionError
        return accepted(keyring, roles)

    monkeypatch.setattr(Keyring, "accepted", fails_once)
    with gate.learner.make(zmq.PULL) as batches:
        gate.learner.connect(batches, gate.addresses["batches"], "batches-address", server="gate")
        wait_until(lambda: asked)
        monkeypatch.undo()
    with closing(WaitingActor(gate.folder, gate.addresses["control"])) as actor:
        wait_until(actor.is_answered)


def test_the_watch_over_handshakes_outlives_an_error(gate: SecuredGate, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[int] = []

    def fails() -> None:
        failed.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(gate.service._sockets.connections, "look", fails)
    wait_until(lambda: len(failed) > 1)
    monkeypatch.undo()

    with closing(service_sockets("actor", None, insecure=True)) as stranger:
        wait_until_refused(gate, stranger, *NO_KEYS)


class OpenDoor(Curve):
    """An allow-list that lets everybody in, as a mistake in ours would."""

    def require_refusal(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._authenticator.allow_any = True
        super().require_refusal(socket, address)


@pytest.mark.parametrize("kind", [zmq.PULL, zmq.ROUTER, zmq.PUSH, zmq.XPUB])
def test_a_socket_that_lets_a_stranger_in_is_not_served(folder: Path, kind: int) -> None:
    with closing(service_sockets("gate", None)) as sockets:
        sockets._curve = OpenDoor(sockets.context, Keyring(folder, "gate"), quiet_log())
        socket = sockets.make(kind)

        with pytest.raises(HeadraceError, match="a client with an unknown key was not refused"):
            sockets.bind(socket, ANY_PORT, "control-bind", "control", clients=["actor"])


def test_a_rotated_key_of_actors_counts_at_once_and_the_old_one_until_it_is_retired(gate: SecuredGate) -> None:
    with closing(service_sockets("actor", gate.folder)) as actor:
        address = gate.addresses["control"]
        old = Keyring(gate.folder, "actor").pair()
        keys.rotate(gate.folder, ["actor"])
        assert joins(actor, address)

        (gate.folder / "actor" / "secret.key").unlink()
        (gate.folder / "actor" / "secret.key").write_bytes(old.secret)
        assert joins(actor, address)

        keys.retire(gate.folder, ["actor"])
        wait_until_refused(gate, actor, "unknown_key")


def test_an_actor_finds_a_gate_whose_key_was_rotated_without_being_restarted(folder: Path) -> None:
    with closing(service_sockets("actor", folder)) as actor:
        with closing(SecuredGate(folder)) as gate:
            assert joins(actor, gate.addresses["control"])
        keys.rotate(folder, ["gate"])
        with closing(SecuredGate(folder)) as gate:
            assert joins(actor, gate.addresses["control"])


def test_an_actor_that_was_refused_is_taken_in_once_its_key_is_known(gate: SecuredGate) -> None:
    known = gate.folder / "gate" / "actor.pub"
    kept = known.read_bytes()
    known.unlink()
    known.write_bytes(zmq.curve_keypair()[0] + b"\n")
    with closing(WaitingActor(gate.folder, gate.addresses["control"])) as actor:
        wait_until(lambda: gate.failures("control", "unknown_key") > 0)
        assert not actor.is_answered()

        known.write_bytes(kept)

        wait_until(actor.is_answered)


def test_an_actor_follows_a_gate_to_its_new_key_without_a_restart(folder: Path) -> None:
    with closing(SecuredGate(folder)) as gate:
        address = gate.addresses["control"]
        actor = WaitingActor(folder, address)
        wait_until(actor.is_answered)

    keys.rotate(folder, ["gate"])

    with closing(actor), closing(SecuredGate(folder, control_bind=address)):
        wait_until(actor.is_answered)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["http", "closed"])
def test_an_actor_finds_a_gate_in_whose_place_a_proxy_answered(folder: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"tcp://127.0.0.1:{proxy.getsockname()[1]}"
        actor = WaitingActor(folder, address)
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(1024), "an actor says first who it is"
            connection.sendall(answer)

    with closing(actor), closing(SecuredGate(folder, control_bind=address)):
        wait_until(actor.is_answered)


def test_when_the_keys_cannot_be_read_nobody_is_accepted(gate: SecuredGate) -> None:
    (gate.folder / "gate" / "actor.pub").unlink()

    with closing(service_sockets("actor", gate.folder)) as actor:
        wait_until_refused(gate, actor, "unknown_key")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:5556", True),
        ("tcp://127.8.0.1:5556", True),
        ("tcp://localhost:5556", True),
        ("tcp://[::1]:5556", True),
        ("tcp://*:5556", False),
        ("tcp://0.0.0.0:5556", False),
        ("tcp://[::]:5556", False),
        ("tcp://gate:5556", False),
        ("tcp://10.0.0.7:5556", False),
        ("tcp://127.0.0.1.example.org:5556", False),
    ],
)
def test_loopback_is_known_by_its_name(address: str, expected: bool) -> None:
    assert is_loopback(address) == expected


def test_tcp_beyond_this_machine_needs_keys_or_a_word_that_none_are_wanted(folder: Path) -> None:
    refusal = (
        r"--gate-address tcp://10\.0\.0\.7:5556: reaches beyond this machine without keys; give --keys .*--insecure"
    )
    with closing(service_sockets("actor", None)) as sockets:
        dealer = sockets.make(zmq.DEALER)
        with pytest.raises(UserError, match=refusal):
            sockets.connect(dealer, "tcp://10.0.0.7:5556", "gate-address", server="gate")
    with closing(service_sockets("gate", None)) as sockets:
        router = sockets.make(zmq.ROUTER)
        with pytest.raises(UserError, match="--control-bind"):
            sockets.bind(router, "tcp://*:*", "control-bind", "control", clients=["actor"])

    for allowed in (service_sockets("gate", folder), service_sockets("gate", None, insecure=True)):
        with closing(allowed) as sockets:
            router = sockets.make(zmq.ROUTER)
            sockets.bind(router, "tcp://*:*", "control-bind", "control", clients=["actor"])


def test_a_unix_socket_needs_no_keys(tmp_path: Path, folder: Path) -> None:
    address = f"ipc://{tmp_path}/control"
    with closing(service_sockets("gate", folder)) as gate, closing(service_sockets("actor", None)) as actor:
        router, dealer = gate.make(zmq.ROUTER), actor.make(zmq.DEALER)
        gate.bind(router, address, "control-bind", "control", clients=["actor"])
        actor.connect(dealer, address, "gate-address", server="gate")
        dealer.send(b"hello")
        wait_until(lambda: router.poll(50) != 0)


def test_keys_that_cannot_be_used_stop_a_service_at_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; make keys with"):
        service_sockets("learner", tmp_path)
