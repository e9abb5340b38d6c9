"""The gate over real sockets: what an actor and a learner of another make would see."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from prometheus_client import CollectorRegistry
from waiting import wait_until
from wire.test_golden_bytes import RUN

from headrace_gate.service import GateService
from headrace_proto import SCHEMA_VERSION, codec, logs, messages, sockets
from headrace_proto.errors import UserError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.messages import (
    ActorHeartbeat,
    BatchHeader,
    CreditGrant,
    CreditRequest,
    GateHeartbeat,
    Join,
    Leave,
    Message,
    MessageT,
    Progress,
    RolloutHeader,
    Welcome,
)
from headrace_proto.settings import GateSettings
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health

pytestmark = pytest.mark.parametrize("transport", ["ipc", "tcp"])


class Peers:
    """A gate in a thread, and the sockets of one learner and any number of actors."""

    def __init__(
        self, transport: str, folder: Path, journal: Path | None = None, *, dismiss_actors: bool = False
    ) -> None:
        self.context = sockets.context()
        self.learner_out = self.context.socket(zmq.XPUB)
        address = f"ipc://{folder}/l" if transport == "ipc" else "tcp://127.0.0.1:*"
        self.learner_address = sockets.bind(self.learner_out, address, "weights-bind")
        self.learner = messages.SESSION_BYTES * b"L"
        self.gate_id = bytes(16)
        self.generation = 0
        self.trained = 0
        self.folder, self.transport, self.journal = folder, transport, journal
        self.dismiss_actors = dismiss_actors
        self.actors: list[Actor] = []
        self.addresses: dict[str, str] = {}
        self.start_gate()

    def start_gate(self) -> None:
        def address(name: str) -> str:
            chosen = f"ipc://{self.folder}/{name}" if self.transport == "ipc" else "tcp://127.0.0.1:*"
            return self.addresses.get(name, chosen)

        settings = GateSettings(
            capacity=104,
            lease_seconds=2.0,
            transitions_bind=address("t"),
            control_bind=address("c"),
            batches_bind=address("b"),
            learner_address=self.learner_address,
            journal=self.journal,
            dismiss_actors=self.dismiss_actors,
        )
        self.registry, self.stop = CollectorRegistry(), StopSignal()
        self.health = Health()
        self.service = GateService(settings, self.registry, self.health, logs.configure("gate", "warning"))
        self.addresses = {
            "t": self.service.transitions_address,
            "c": self.service.control_address,
            "b": self.service.batches_address,
        }
        self.thread = threading.Thread(target=self.service.run, args=[self.stop])
        self.thread.start()
        self.batches = self.context.socket(zmq.PULL)
        self.batches.connect(self.service.batches_address)

    def stop_gate(self) -> None:
        self.stop.is_set = True
        self.thread.join(10)
        self.batches.close(0)

    def close(self) -> None:
        self.stop_gate()
        self.context.destroy(linger=0)

    def report(self, trained_batch: int = 0, run: RunSpecification = RUN, finished: bool = False) -> None:
        progress = Progress(
            learner=self.learner,
            gate=self.gate_id,
            generation=self.generation,
            version=trained_batch,
            published_version=0,
            env_steps=self.trained,
            received_batch=trained_batch,
            trained_batch=trained_batch,
            trained=self.trained,
            rejected={},
            run=run,
            waiting_for="batch",
            finished=finished,
        )
        self.learner_out.send_multipart([messages.PROGRESS_TOPIC, progress.encode()])

    def next_batch(self) -> tuple[BatchHeader, list[bytes]]:
        wait_until(lambda: self.batches.poll(50) != 0)
        header, *frames = self.batches.recv_multipart()
        return messages.decode(BatchHeader, header), frames

    def greet(self) -> None:
        """Report until the gate's greeting comes, and answer it."""

        def greeted() -> bool:
            self.report()
            return self.batches.poll(50) != 0

        wait_until(greeted)
        header, _ = self.next_batch()
        self.gate_id, self.generation = header.gate, header.generation
        self.report()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"headrace_gate_{name}", labels) or 0.0

    def cut(self) -> float:
        """Connections that the gate has ended."""
        [family] = [family for family in self.registry.collect() if family.name == "headrace_connections_cut"]
        return sum(sample.value for sample in family.samples)


class Actor:
    """The two sockets of an actor."""

    def __init__(self, peers: Peers, name: bytes) -> None:
        peers.actors.append(self)
        self.session = name * 16
        self.control = peers.context.socket(zmq.DEALER)
        self.control.routing_id = self.session
        self.control.connect(peers.service.control_address)
        self.transitions = peers.context.socket(zmq.PUSH)
        self.transitions.connect(peers.service.transitions_address)

    def ask(self, message: Message) -> None:
        self.control.send(message.encode())

    def hear(self, kind: type[MessageT]) -> MessageT:
        wait_until(lambda: self.control.poll(50) != 0)
        return messages.decode(kind, self.control.recv())

    def join(self) -> Welcome:
        self.ask(Join(host="test"))
        return self.hear(Welcome)

    def refused(self) -> Leave:
        self.ask(Join(host="test"))
        return self.hear(Leave)

    def credit(self, number: int, count: int = 40) -> CreditGrant:
        self.ask(CreditRequest(credit=number, count=count, finished=number - 1))
        return self.hear(CreditGrant)

    def push(self, credit: int, part: int, *, final: bool = False, count: int = 5, payload: bytes = b"payload") -> None:
        header = RolloutHeader(
            session=self.session,
            actor=0,
            credit=credit,
            part=part,
            final=final,
            count=count,
            generation=1,
            weights_version=0,
        )
        self.transitions.send_multipart([header.encode(), payload])


@pytest.fixture
def peers(transport: str, tmp_path: Path) -> Iterator[Peers]:
    made = Peers(transport, tmp_path)
    yield made
    made.close()


@pytest.fixture
def journaled(transport: str, tmp_path: Path) -> Iterator[Peers]:
    (tmp_path / "journals").mkdir()
    made = Peers(transport, tmp_path, journal=tmp_path / "journals" / "journal")
    yield made
    made.close()


def test_rollouts_pass_through_unread_and_come_back_as_credit(peers: Peers) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    assert actor.join().run == RUN
    assert (actor.credit(1).count, actor.credit(2).count) == (40, 40)
    for part in range(8):
        actor.push(1, part, final=part == 7, payload=b"%d" % part)
        actor.push(2, part, final=part == 7)

    header, frames = peers.next_batch()

    assert (header.learner, header.count, header.rollouts, header.capacity) == (peers.learner, 65, 13, 104)
    assert frames[1] == b"0"
    wait_until(lambda: peers.metric("queued_transitions") == 15)
    assert peers.metric("alive_transitions") == 80
    peers.trained = 65
    peers.report(trained_batch=header.batch)
    wait_until(lambda: peers.metric("alive_transitions") == 15)
    assert peers.metric("trained_transitions_total") == 65


def test_bytes_are_counted_as_they_come_and_go(peers: Peers) -> None:
    peers.greet()
    wait_until(lambda: peers.metric("sent_bytes_total") > 0)
    greetings = peers.metric("sent_bytes_total")
    actor = Actor(peers, b"A")
    actor.join()
    actor.credit(1)
    actor.credit(2)
    for part in range(13):
        actor.push(1 + part // 8, part % 8, payload=bytes(1000))

    header, frames = peers.next_batch()

    arrived = sum(map(len, frames))
    assert arrived > 13 * 1000
    assert peers.metric("received_bytes_total") == arrived
    wait_until(lambda: peers.metric("sent_bytes_total") > greetings)
    assert peers.metric("sent_bytes_total") - greetings >= arrived + len(header.encode())


def test_the_gates_run_is_that_of_its_learner_and_actors_of_another_run_join_again(peers: Peers) -> None:
    assert peers.health.run == ""
    peers.greet()
    wait_until(lambda: peers.health.run == RUN.name)
    actor = Actor(peers, b"A")
    assert actor.join().run.name == RUN.name
    another = RUN.model_copy(update={"name": "another"})
    peers.learner = messages.SESSION_BYTES * b"M"

    peers.report(run=another)

    wait_until(lambda: peers.health.run == "another")
    assert actor.hear(Leave).code == "unknown"
    assert Actor(peers, b"B").join().run == another


def test_a_finished_run_is_told_from_one_whose_learner_is_away(peers: Peers) -> None:
    peers.greet()
    assert peers.metric("run_finished") == 0

    peers.report(finished=True)

    wait_until(lambda: peers.metric("run_finished") == 1)
    assert Actor(peers, b"A").refused().code == "finished"


@pytest.fixture
def dismissing(transport: str, tmp_path: Path) -> Iterator[Peers]:
    """A gate that sends its actors home when the run is finished."""
    made = Peers(transport, tmp_path, dismiss_actors=True)
    yield made
    made.close()


def test_actors_are_sent_home_when_the_run_is_finished_where_that_is_asked_for(dismissing: Peers) -> None:
    dismissing.greet()
    actor = Actor(dismissing, b"A")
    actor.join()
    actor.credit(1)

    dismissing.report(finished=True)

    assert actor.hear(Leave).code == "finished"
    wait_until(lambda: dismissing.metric("lost_transitions_total", cause="actor_gone") == 40)
    assert dismissing.metric("actors") == dismissing.metric("alive_transitions") == 0


def test_else_they_wait_for_a_learner_with_steps_left(peers: Peers) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    actor.join()

    peers.report(finished=True)

    wait_until(lambda: peers.metric("run_finished") == 1)
    actor.ask(ActorHeartbeat(finished=0, env_steps=0, waiting_for="credit"))
    assert actor.hear(GateHeartbeat).waiting_for == "a learner with steps left"


def test_an_actor_waits_until_there_is_room_for_all_it_asks(peers: Peers) -> None:
    peers.greet()
    first, second, third = (Actor(peers, name) for name in (b"A", b"B", b"C"))
    for actor in (first, second, third):
        actor.join()
    first.credit(1)
    second.credit(1)
    third.ask(CreditRequest(credit=1, count=40, finished=0))
    wait_until(lambda: peers.metric("waiting_actors") == 1)
    assert peers.metric("alive_transitions") == 80

    first.push(1, 0, final=True)

    assert third.hear(CreditGrant).count == 40


def test_a_learner_that_is_away_does_not_starve_of_the_capacity(peers: Peers) -> None:
    peers.greet()
    actors = [Actor(peers, name) for name in (b"A", b"B", b"C")]

    def all_ask() -> None:
        for actor in actors:
            actor.ask(CreditRequest(credit=1, count=40, finished=0))

    def is_limited() -> bool:
        all_ask()
        peers.report()
        return peers.service.gate.is_capacity_limited

    def learner_is_missed() -> bool:
        all_ask()
        return peers.service.gate.waiting_for == "learner"

    for actor in actors:
        actor.join()
    wait_until(is_limited)
    wait_until(learner_is_missed)

    assert peers.metric("waiting_actors") == 1
    assert not peers.service.gate.is_capacity_limited


def test_a_silent_actor_loses_its_credit_and_the_others_go_on(peers: Peers) -> None:
    peers.greet()
    silent, other = Actor(peers, b"A"), Actor(peers, b"B")
    silent.join()
    silent.credit(1)
    other.join()
    other.credit(1)

    def only_one_is_left() -> bool:
        other.ask(CreditRequest(credit=2, count=40, finished=0))
        return peers.metric("actors") == 1

    wait_until(only_one_is_left)

    assert peers.metric("lost_transitions_total", cause="actor_gone") == 40
    silent.push(1, 0)
    wait_until(lambda: peers.metric("refused_messages_total", reason="unknown_session") == 1)


def test_an_actor_without_a_learner_is_told_to_come_again(peers: Peers) -> None:
    actor = Actor(peers, b"A")

    actor.ask(Join(host="test"))

    assert actor.hear(Leave).code == "not_ready"


def test_another_schema_is_refused_with_both_versions(peers: Peers) -> None:
    actor = Actor(peers, b"A")

    ours, theirs = (b"\xa6schema" + bytes([version]) for version in (SCHEMA_VERSION, SCHEMA_VERSION + 1))
    actor.control.send(Join(host="test").encode().replace(ours, theirs))

    leave = actor.hear(Leave)
    assert leave.code == "schema"
    assert f"version {SCHEMA_VERSION + 1}, this side {SCHEMA_VERSION}" in leave.reason


def test_what_is_malformed_is_counted_by_reason_and_the_gate_goes_on(peers: Peers) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    actor.join()
    actor.credit(1)
    actor.transitions.send(b"one frame")
    actor.transitions.send_multipart([b"not msgpack \xc1", b""])
    actor.transitions.send_multipart([codec.encode({"schema": np.zeros(2, np.int32), "kind": "TRANSITIONS"}), b""])
    actor.control.send_multipart([b"two", b"frames"])
    actor.push(9, 0)
    actor.push(1, 0)
    actor.push(1, 0)
    actor.push(1, 1, count=36)
    actor.push(1, 2, payload=bytes(100_000))

    expected = {"frame_count": 2, "malformed": 1, "schema": 1, "revoked_credit": 1, "duplicate": 1}
    wait_until(lambda: all(peers.metric("refused_messages_total", reason=r) == n for r, n in expected.items()))
    wait_until(lambda: peers.metric("rejected_transitions_total", reason="oversized") == 5)
    assert actor.credit(2).count == 40


def test_a_new_learner_gets_what_its_predecessor_had_not_trained(peers: Peers) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    actor.join()
    for credit in (1, 2):
        actor.credit(credit)
        for part in range(8):
            actor.push(credit, part, final=part == 7)
    sent, frames = peers.next_batch()

    peers.learner, peers.gate_id, peers.generation = b"M" * 16, bytes(16), 0
    peers.greet()

    again, frames_again = peers.next_batch()
    assert (again.batch, frames_again) == (sent.batch, frames)
    assert (again.learner, again.generation) == (b"M" * 16, 2)


def test_a_restarted_gate_keeps_open_credits_and_counts_its_queue_as_lost(journaled: Peers) -> None:
    journaled.greet()
    actor = Actor(journaled, b"A")
    actor.join()
    actor.credit(1)
    actor.push(1, 0)
    wait_until(lambda: journaled.metric("queued_transitions") == 5)

    journaled.stop_gate()
    journaled.start_gate()
    assert journaled.metric("accepted_transitions_total") == 5
    journaled.greet()
    actor.push(1, 1)

    wait_until(lambda: journaled.metric("queued_transitions") == 5)
    assert journaled.metric("lost_transitions_total", cause="gate_restart") == 5
    assert journaled.metric("granted_transitions") == 30


def test_a_restarted_gate_takes_what_is_sent_against_open_credit_before_it_hears_its_learner(journaled: Peers) -> None:
    journaled.greet()
    actor = Actor(journaled, b"A")
    actor.join()
    actor.credit(1)

    journaled.stop_gate()
    journaled.start_gate()
    actor.push(1, 0)

    wait_until(lambda: journaled.metric("queued_transitions") == 5)
    assert journaled.cut() == 0


def test_who_sends_a_rollout_before_any_learner_has_come_is_refused_and_not_cut_off(peers: Peers) -> None:
    Actor(peers, b"A").push(1, 0)

    wait_until(lambda: peers.metric("refused_messages_total", reason="unknown_session") == 1)

    assert peers.cut() == 0


def test_without_a_journal_the_gate_remembers_no_session_for_it(peers: Peers) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    actor.join()
    actor.credit(1)
    gate = peers.service.gate

    wait_until(lambda: not gate.ledger.changed and not gate.roster.changed, seconds=10)


def test_without_a_journal_on_disk_nothing_is_promised_and_with_it_things_go_on(
    journaled: Peers, tmp_path: Path
) -> None:
    journaled.greet()
    actor = Actor(journaled, b"A")
    actor.join()
    (tmp_path / "journals").rename(tmp_path / "away")
    actor.ask(CreditRequest(credit=1, count=40, finished=0))
    wait_until(lambda: journaled.metric("granted_transitions") == 40)
    assert not actor.control.poll(500)

    (tmp_path / "away").rename(tmp_path / "journals")
    assert actor.credit(1).count == 40


@pytest.mark.parametrize(
    "damage", [b"", b"12345678", zlib.crc32(b"\x80").to_bytes(4, "big") + b"\x80"], ids=["empty", "garbage", "no state"]
)
def test_a_damaged_journal_is_said_and_a_new_account_begins(
    transport: str, tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal").write_bytes(damage)

    peers = Peers(transport, tmp_path, journal=tmp_path / "journal")
    peers.close()

    assert "damaged journal: a new account begins" in capsys.readouterr().out
    assert peers.metric("promised_transitions_total") == 0


@pytest.mark.parametrize(("claimed", "reason"), [((0, 0), "stale"), ((1, 50), "malformed"), ((9, 0), "malformed")])
def test_weights_older_than_the_grant_or_newer_than_the_learners_are_rejected(
    peers: Peers, claimed: tuple[int, int], reason: str
) -> None:
    peers.greet()
    actor = Actor(peers, b"A")
    actor.join()
    actor.credit(1)

    header = RolloutHeader(
        session=actor.session,
        actor=0,
        credit=1,
        part=0,
        final=True,
        count=5,
        generation=claimed[0],
        weights_version=claimed[1],
    )
    actor.transitions.send_multipart([header.encode(), b"payload"])

    wait_until(lambda: peers.metric("rejected_transitions_total", reason=reason) == 5)


def test_an_address_in_use_is_a_users_error(peers: Peers) -> None:
    taken = GateSettings(transitions_bind=peers.service.transitions_address)

    with pytest.raises(UserError, match=r"--transitions-bind .*: the address is in use"):
        GateService(taken, CollectorRegistry(), Health(), logs.configure("gate", "error"))
