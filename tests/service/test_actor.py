"""The actor over real sockets, against a gate and a learner made of the test's own sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import zmq
from made_up import a_run
from prometheus_client import CollectorRegistry
from waiting import DEADLINE_SECONDS, wait_until

from headrace_actor import seeding, service
from headrace_actor.service import ActorService
from headrace_proto import SCHEMA_VERSION, codec, environments, logs, messages, networks, rollouts, sockets
from headrace_proto.environments import VectorEnvironment
from headrace_proto.errors import UserError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.messages import (
    ActorHeartbeat,
    CreditGrant,
    CreditRequest,
    GateHeartbeat,
    Join,
    Leave,
    Message,
    RolloutHeader,
    Session,
    Welcome,
)
from headrace_proto.metrics import ActorMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.settings import ActorSettings
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health
from headrace_proto.weights import Weights

RUN = a_run(
    name="run-7",
    frame_skip=4,
    environments_per_actor=3,
    rollout_length=4,
    n_step=4,
    batch_size=16,
    exploration="round-robin",
)


class Peers:
    """A gate and a learner that do only what a test tells them, and note everything that the actor says."""

    def __init__(self, folder: Path, lease_seconds: float = 10.0) -> None:
        self.context = sockets.context()
        self.router = self.context.socket(zmq.ROUTER)
        self.pull = self.context.socket(zmq.PULL)
        self.xpub = self.context.socket(zmq.XPUB)
        self.xpub.xpub_verbose = 1
        self.gate_address = sockets.bind(self.router, f"ipc://{folder}/gate", "gate")
        self.welcome = Welcome(
            actor=2,
            life=0,
            lease_seconds=lease_seconds,
            transitions_address=sockets.bind(self.pull, f"ipc://{folder}/transitions", "transitions"),
            weights_address=sockets.bind(self.xpub, f"ipc://{folder}/weights", "weights"),
            run=RUN,
        )
        self.answer_join: Callable[[], Message] = lambda: self.welcome
        self.beats = True
        self.joined: list[Session] = []
        self.asked: dict[Session, list[CreditRequest]] = defaultdict(list)
        self.heartbeats: list[ActorHeartbeat] = []
        self.left: list[Leave] = []
        self.sent: list[tuple[RolloutHeader, Rollout | None]] = []
        self.subscriptions = 0
        self.topics: set[bytes] = set()
        self.blob = b""
        self.tensors = dict(networks.build_for(RUN).state_dict())

    def hear(self) -> None:
        """Take note of everything that has arrived, and answer JOIN and HEARTBEAT."""
        while self.router.poll(0):
            session, data = self.router.recv_multipart()
            self._on_control(session, *messages.decode_kind(data))
        while self.pull.poll(0):
            header_bytes, payload = self.pull.recv_multipart()
            header = messages.decode(RolloutHeader, header_bytes)
            rollout = rollouts.decode(payload, RUN, header.count) if header.count else None
            self.sent.append((header, rollout))
        while self.xpub.poll(0):
            self._on_subscription(self.xpub.recv())

    def wait_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        def heard() -> object:
            self.hear()
            return condition()

        wait_until(heard, seconds)

    def tell(self, message: Message) -> None:
        self.router.send_multipart([self.session, message.encode()])

    def grant(self, credit: int, version: int, count: int = RUN.credit_per_round) -> None:
        self.tell(CreditGrant(credit=credit, count=count, generation=1, weights_version=version))

    def publish(self, version: int, generation: int = 1, env_steps: int = 0) -> None:
        """Answer with these weights whoever asks from now on, and who asked before."""
        self.blob = Weights(generation, version, env_steps, self.tensors).encode()
        self.answer([self.blob])

    def answer(self, body: list[bytes]) -> None:
        for topic in self.topics:
            self.xpub.send_multipart([topic, *body])

    def wait_for_ask(self, credit: int) -> None:
        self.wait_until(lambda: any(ask.credit == credit for ask in self.asked[self.session]))

    def wait_for_question(self) -> None:
        """Until the actor asks for weights."""
        self.wait_until(lambda: self.topics)

    def wait_for_end_of(self, credit: int) -> list[tuple[RolloutHeader, Rollout | None]]:
        def parts() -> list[tuple[RolloutHeader, Rollout | None]]:
            return [(header, rollout) for header, rollout in self.sent if header.credit == credit]

        self.wait_until(lambda: any(header.final for header, _ in parts()))
        return parts()

    @property
    def session(self) -> Session:
        return self.joined[-1]

    def close(self) -> None:
        self.context.destroy(linger=0)

    def _on_subscription(self, said: bytes) -> None:
        topic = said[1:]
        assert topic.startswith(messages.WEIGHTS_TOPIC)
        assert len(topic) == len(messages.WEIGHTS_TOPIC) + messages.SESSION_BYTES
        if said[:1] == b"\x00":
            self.topics.discard(topic)
            return
        self.subscriptions += 1
        self.topics.add(topic)
        if self.blob:
            self.xpub.send_multipart([topic, self.blob])

    def _on_control(self, session: Session, kind: str, fields: dict[str, Any]) -> None:
        if kind == "JOIN":
            assert messages.parse(Join, fields).host
            if session not in self.joined:
                self.joined.append(session)
            self.router.send_multipart([session, self.answer_join().encode()])
        elif kind == "HEARTBEAT":
            self.heartbeats.append(messages.parse(ActorHeartbeat, fields))
            if self.beats:
                self.router.send_multipart([session, GateHeartbeat(waiting_for="learner").encode()])
        elif kind == "CREDIT":
            self.asked[session].append(messages.parse(CreditRequest, fields))
        else:
            self.left.append(messages.parse(Leave, fields))


class Actor:
    """The real service in a thread."""

    def __init__(self, gate_address: str, **settings: Any) -> None:
        self.registry, self.health, self.stop = CollectorRegistry(), Health(), StopSignal()
        self.failure: BaseException | None = None
        self.service = ActorService(
            ActorSettings(gate_address=gate_address, **settings),
            ActorMetrics(self.registry),
            self.health,
            self.stop,
            logs.configure("actor", "error"),
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except BaseException as error:
            self.failure = error

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"headrace_actor_{name}", labels) or 0.0

    def end(self) -> None:
        self.stop.is_set = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    made = Peers(tmp_path)
    yield made
    made.close()


@pytest.fixture
def actor(peers: Peers) -> Iterator[Actor]:
    made = Actor(peers.gate_address)
    yield made
    made.end()


@pytest.fixture
def staying(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Actor]:
    """An actor that stays up, and asks again soon."""
    monkeypatch.setattr(service, "ASK_A_REFUSAL_AGAIN_SECONDS", 0.5)
    made = Actor(peers.gate_address, stay_up=True)
    yield made
    made.end()


def start_playing(peers: Peers, version: int = 1) -> None:
    """Let the actor join and give it weights and its first credit."""
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    peers.publish(version)
    peers.grant(1, version)


def test_an_actor_joins_with_a_session_of_16_bytes_and_asks_for_a_whole_round(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    assert len(peers.session) == messages.SESSION_BYTES
    (ask, *_) = peers.asked[peers.session]
    assert (ask.credit, ask.count, ask.finished) == (1, RUN.credit_per_round, 0)


def test_an_actor_asks_again_until_it_is_granted(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_until(lambda: len(peers.asked[peers.session]) >= 3)
    assert {ask.credit for ask in peers.asked[peers.session]} == {1}
    assert actor.metric("blocked_seconds_total", waiting_for="credit") > 0
    assert actor.health.waiting_for == "credit"


def test_nothing_is_generated_without_credit(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.publish(1)
    peers.wait_until(lambda: len(peers.asked[peers.session]) >= 3)
    assert actor.metric("env_steps_total") == 0
    assert peers.sent == []


def test_a_credit_is_played_sent_and_closed_and_the_next_asked_for(peers: Peers, actor: Actor) -> None:
    start_playing(peers)
    sent = peers.wait_for_end_of(1)
    assert [header.part for header, _ in sent] == list(range(len(sent)))
    assert [header.final for header, _ in sent] == [False] * (len(sent) - 1) + [True]
    assert sum(header.count for header, _ in sent) == actor.metric("env_steps_total") <= RUN.credit_per_round
    assert {(header.actor, header.generation, header.weights_version) for header, _ in sent} == {(2, 1, 1)}
    assert {rollout.environment for _, rollout in sent if rollout} == {0, 1, 2}
    peers.wait_for_ask(2)
    assert peers.asked[peers.session][-1].finished in (0, 1)
    assert actor.health.ready


def test_every_transition_of_every_credit_is_sent(peers: Peers, actor: Actor) -> None:
    start_playing(peers)
    for credit in range(1, 31):
        peers.wait_for_end_of(credit)
        if credit < 30:
            peers.wait_for_ask(credit + 1)
            peers.grant(credit + 1, version=1)
    used = [sum(header.count for header, _ in peers.wait_for_end_of(credit)) for credit in range(1, 31)]
    assert max(used) <= RUN.credit_per_round
    assert min(used) < RUN.credit_per_round, "a game ended and its step of resetting was given back"
    assert sum(used) == actor.metric("env_steps_total")
    assert sum(used) * RUN.frame_skip == actor.metric("frames_total")
    assert actor.metric("episodes_total") == sum(r is not None and r.episode_return is not None for _, r in peers.sent)


def test_a_smaller_credit_than_asked_for_is_not_overdrawn(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    peers.publish(1)
    peers.grant(1, version=1, count=7)
    assert sum(header.count for header, _ in peers.wait_for_end_of(1)) == 6
    peers.wait_for_ask(2)
    peers.grant(2, version=1, count=2)
    ((header, rollout),) = peers.wait_for_end_of(2)
    assert (header.count, header.final, rollout) == (0, True, None)


def test_an_actor_waits_for_weights_as_new_as_its_credit_says(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    peers.publish(4)
    peers.grant(1, version=5)
    before = peers.subscriptions
    peers.wait_until(lambda: peers.subscriptions >= before + 2)
    assert (actor.metric("env_steps_total"), actor.health.waiting_for) == (0, "weights")
    peers.publish(6)
    assert {header.weights_version for header, _ in peers.wait_for_end_of(1)} == {6}
    assert actor.metric("weights_version") == 6


def test_credit_whose_weights_do_not_come_within_a_lease_is_given_back_and_asked_for_once_they_are_there(
    tmp_path: Path,
) -> None:
    peers = Peers(tmp_path, lease_seconds=1.0)
    actor = Actor(peers.gate_address)
    start_playing(peers)
    peers.wait_for_end_of(1)
    peers.wait_for_ask(2)
    peers.grant(2, version=2)
    ((header, rollout),) = peers.wait_for_end_of(2)
    assert (header.count, header.final, rollout) == (0, True, None)
    assert (header.generation, header.weights_version) == (1, 2)

    # Without weights it stays, asks for nothing and says what it waits for.
    heard = len(peers.heartbeats)
    peers.wait_until(lambda: len(peers.heartbeats) >= heard + 8)
    assert (peers.heartbeats[-1].finished, peers.heartbeats[-1].waiting_for) == (2, "weights")
    assert not [ask for ask in peers.asked[peers.session] if ask.credit > 2]
    peers.publish(2)
    peers.wait_for_ask(3)
    peers.grant(3, version=2)
    assert sum(header.count for header, _ in peers.wait_for_end_of(3)) > 0
    assert len(peers.joined) == 1
    actor.stop.is_set = True
    actor.thread.join(30)
    peers.close()
    assert actor.failure is None


def test_weights_older_than_those_of_a_credit_are_not_played_by_in_whatever_order_they_come(
    peers: Peers, actor: Actor
) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    peers.tell(CreditGrant(credit=1, count=RUN.credit_per_round, generation=2, weights_version=3))
    peers.wait_for_question()
    for version, generation in ((8, 1), (2, 2), (9, 1), (3, 2)):
        peers.publish(version, generation)
    assert {(header.generation, header.weights_version) for header, _ in peers.wait_for_end_of(1)} == {(2, 3)}


def test_an_actor_asks_for_weights_only_when_its_credit_names_newer_ones_than_it_has(
    peers: Peers, actor: Actor
) -> None:
    start_playing(peers)
    peers.wait_for_end_of(1)
    peers.wait_for_ask(2)
    peers.wait_until(lambda: not peers.topics)
    asked = peers.subscriptions
    peers.publish(2)
    peers.wait_until(lambda: len(peers.asked[peers.session]) >= 4)  # the second credit, over and over
    peers.grant(2, version=1)
    assert {header.weights_version for header, _ in peers.wait_for_end_of(2)} == {1}
    assert peers.subscriptions == asked

    peers.wait_for_ask(3)
    peers.grant(3, version=2)
    assert {header.weights_version for header, _ in peers.wait_for_end_of(3)} == {2}
    assert peers.subscriptions > asked


def test_malformed_messages_are_ignored(peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    for data in (
        b"",
        b"\xff",
        codec.encode({"schema": SCHEMA_VERSION, "kind": "CREDIT", "credit": -1}),
        codec.encode([1]),
    ):
        peers.router.send_multipart([peers.session, data])
    peers.router.send_multipart([peers.session, b"two", b"frames"])
    peers.grant(1, version=1)
    peers.wait_for_question()
    peers.answer([b"no weights"])
    peers.answer([])
    peers.answer([Weights(9, 9, 0, {"w": peers.tensors["trunk.hidden.0.bias"]}).encode()])
    peers.publish(1)
    assert {header.generation for header, _ in peers.wait_for_end_of(1)} == {1}


def the_blob(peers: Peers, version: int, dtype: torch.dtype = torch.float32) -> bytes:
    return Weights(1, version, 0, {name: tensor.to(dtype) for name, tensor in peers.tensors.items()}).encode()


def heading_alone(blob: bytes) -> bytes:
    return blob[: 8 + int.from_bytes(blob[:8], "little")]


@pytest.mark.parametrize(
    "broken",
    [
        lambda peers: heading_alone(the_blob(peers, 2)),
        lambda peers: the_blob(peers, 2)[:-1],
        lambda peers: the_blob(peers, 2) + b"more",
        lambda peers: the_blob(peers, 2, torch.float16),
        lambda peers: the_blob(peers, 2, torch.float64),
    ],
    ids=["no tensors", "cut", "too long", "half precision", "double precision"],
)
def test_weights_that_are_not_what_their_header_says_or_not_float32_are_never_played_by(
    peers: Peers, actor: Actor, broken: Callable[[Peers], bytes]
) -> None:
    peers.wait_until(lambda: peers.joined)
    peers.wait_for_ask(1)
    peers.grant(1, version=2)
    peers.wait_for_question()
    peers.answer([broken(peers)])
    before = peers.subscriptions
    peers.wait_until(lambda: peers.subscriptions >= before + 2)  # it has looked, and asks the learner again
    assert (actor.metric("env_steps_total"), actor.health.waiting_for) == (0, "weights")
    peers.publish(2)
    assert {header.weights_version for header, _ in peers.wait_for_end_of(1)} == {2}


def test_an_actor_that_the_gate_does_not_know_joins_again_as_a_new_session(peers: Peers, actor: Actor) -> None:
    start_playing(peers)
    peers.wait_for_end_of(1)
    first = peers.session
    peers.sent.clear()
    peers.tell(Leave(code="unknown", reason="a test"))
    peers.wait_until(lambda: len(peers.joined) == 2)
    assert peers.session != first
    start_playing(peers)
    assert {header.session for header, _ in peers.wait_for_end_of(1)} == {peers.session}


def test_an_actor_joins_again_when_the_gate_is_silent_for_a_lease(tmp_path: Path) -> None:
    peers = Peers(tmp_path, lease_seconds=1.0)
    peers.beats = False
    actor = Actor(peers.gate_address)
    peers.wait_until(lambda: len(peers.joined) >= 2)
    actor.stop.is_set = True
    actor.thread.join(30)
    peers.close()
    assert actor.failure is None


def test_heartbeats_keep_a_session_that_waits_and_tell_what_for(tmp_path: Path) -> None:
    peers = Peers(tmp_path, lease_seconds=1.0)
    actor = Actor(peers.gate_address)
    peers.wait_until(lambda: len(peers.heartbeats) >= 12)
    assert len(peers.joined) == 1
    assert peers.heartbeats[-1].waiting_for == "credit"
    actor.stop.is_set = True
    actor.thread.join(30)
    peers.hear()
    assert [leave.code for leave in peers.left] == ["goodbye"]
    peers.close()


class MayBuild(threading.Event):
    """No game is built before it is set."""

    began = 0


@pytest.fixture
def may_build(monkeypatch: pytest.MonkeyPatch) -> Iterator[MayBuild]:
    event, make_vector = MayBuild(), environments.make_vector

    def slowly(run: RunSpecification) -> VectorEnvironment:
        event.began += 1
        assert event.wait(DEADLINE_SECONDS)
        return make_vector(run)

    monkeypatch.setattr(environments, "make_vector", slowly)
    yield event
    event.set()


def test_games_that_take_longer_than_a_lease_to_start_cost_no_session(tmp_path: Path, may_build: MayBuild) -> None:
    peers = Peers(tmp_path, lease_seconds=1.0)
    actor = Actor(peers.gate_address)
    peers.wait_until(lambda: len(peers.heartbeats) >= 12)  # four a lease
    assert (actor.health.waiting_for, peers.heartbeats[-1].waiting_for) == ("games", "games")
    may_build.set()
    start_playing(peers)
    assert peers.wait_for_end_of(1)
    assert len(peers.joined) == 1
    actor.end()
    peers.close()
    assert actor.failure is None


def test_a_session_that_is_lost_while_its_games_start_is_followed_by_games_of_the_next_ones_seat(
    tmp_path: Path, may_build: MayBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats, game_seed = set(), seeding.game_seed

    def noted(seed: int, actor: int, environment: int, life: int) -> int:
        seats.add((actor, life))
        return game_seed(seed, actor, environment, life)

    monkeypatch.setattr(seeding, "game_seed", noted)
    peers = Peers(tmp_path, lease_seconds=1.0)
    peers.beats = False
    first = Actor(peers.gate_address)
    peers.wait_until(lambda: peers.joined)
    peers.answer_join = lambda: peers.welcome.model_copy(update={"actor": 5, "life": 1})
    peers.wait_until(lambda: len(peers.joined) >= 2)
    peers.beats = True
    may_build.set()
    start_playing(peers)
    assert {header.actor for header, _ in peers.wait_for_end_of(1)} == {5}
    assert seats == {(5, 1)}
    first.end()
    peers.close()


def test_games_that_a_lost_session_has_started_are_the_next_ones_or_it_would_never_come_to_play(
    tmp_path: Path, may_build: MayBuild
) -> None:
    peers = Peers(tmp_path, lease_seconds=1.0)
    peers.beats = False
    first = Actor(peers.gate_address)
    peers.wait_until(lambda: len(peers.joined) >= 3)
    peers.beats = True
    may_build.set()
    start_playing(peers)
    assert peers.wait_for_end_of(1)
    assert may_build.began == 1
    first.end()
    peers.close()


def test_an_actor_can_be_stopped_while_its_games_start(may_build: MayBuild, peers: Peers, actor: Actor) -> None:
    peers.wait_until(lambda: actor.health.waiting_for == "games")
    actor.end()
    peers.wait_until(lambda: peers.left)
    assert actor.failure is None


def test_an_actor_keeps_trying_while_the_gate_is_not_ready(peers: Peers, actor: Actor) -> None:
    refusals = []

    def not_ready() -> Message:
        refusals.append(1)
        return Leave(code="not_ready", reason="no learner yet")

    peers.answer_join = not_ready
    peers.wait_until(lambda: len(refusals) >= 2)
    peers.answer_join = lambda: peers.welcome
    peers.wait_for_ask(1)
    assert len(peers.joined) == 1
    assert actor.metric("blocked_seconds_total", waiting_for="gate") > 0


def test_an_actor_ends_in_peace_when_the_run_is_finished(peers: Peers, actor: Actor) -> None:
    start_playing(peers)
    peers.wait_for_end_of(1)
    peers.tell(Leave(code="finished", reason="the run is finished"))
    actor.thread.join(30)
    assert not actor.thread.is_alive()
    assert actor.failure is None


def test_an_actor_of_another_release_says_so_and_stops(peers: Peers, actor: Actor) -> None:
    peers.answer_join = lambda: Leave(code="schema", reason="the peer speaks schema version 1, this side 2")
    peers.wait_until(lambda: not actor.thread.is_alive())
    assert isinstance(actor.failure, UserError)
    assert "schema version 1, this side 2" in str(actor.failure)


def test_a_gate_that_answers_in_another_schema_is_named_with_both_versions(peers: Peers, actor: Actor) -> None:
    class Alien(Message):
        kind = "WELCOME"

        def encode(self) -> bytes:
            return codec.encode({"schema": 99, "kind": "WELCOME"})

    peers.answer_join = Alien
    peers.wait_until(lambda: not actor.thread.is_alive())
    assert isinstance(actor.failure, UserError)
    assert "99" in str(actor.failure)
    assert peers.gate_address in str(actor.failure)


class OfAnotherSchema(Message):
    """How a gate of the release before answers."""

    kind = "WELCOME"

    def encode(self) -> bytes:
        return codec.encode({"schema": SCHEMA_VERSION - 1, "kind": "WELCOME"})


@pytest.mark.parametrize(
    "refusal",
    [
        OfAnotherSchema(),
        Leave(code="schema", reason=f"the peer speaks schema version {SCHEMA_VERSION}, this side {SCHEMA_VERSION - 1}"),
        Leave(code="finished", reason="the run is finished"),
    ],
    ids=["an older gate's word", "an older gate's refusal", "a finished run"],
)
def test_an_actor_that_stays_up_asks_again_and_plays_once_it_may(
    peers: Peers, staying: Actor, refusal: Message
) -> None:
    peers.answer_join = lambda: refusal
    peers.wait_until(lambda: len(peers.joined) >= 2)
    assert (staying.health.ready, staying.health.waiting_for) == (False, "gate")
    assert staying.metric("blocked_seconds_total", waiting_for="gate") > 0
    peers.answer_join = lambda: peers.welcome
    joined = len(peers.joined)
    peers.wait_until(lambda: len(peers.joined) > joined and peers.asked[peers.session])
    peers.publish(1)
    peers.grant(1, 1)
    peers.wait_for_end_of(1)


def test_an_actor_that_stays_up_says_why_it_waits_and_does_not_end(peers: Peers, tmp_path: Path) -> None:
    peers.answer_join = OfAnotherSchema
    command = [sys.executable, "-m", "headrace_actor", "--gate-address", peers.gate_address, "--metrics-port", "0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([*command, "--stay-up"], stdout=log, stderr=log) as process,
    ):
        reason = f"schema version {SCHEMA_VERSION - 1}, this side {SCHEMA_VERSION}"
        peers.wait_until(lambda: reason in (tmp_path / "log").read_text())
        assert process.poll() is None
        process.terminate()
        peers.wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0


def test_the_actors_run_is_that_of_its_welcome_and_changes_with_it(peers: Peers, actor: Actor) -> None:
    start_playing(peers)
    peers.wait_for_end_of(1)
    assert actor.health.run == "run-7"
    another = RUN.model_copy(update={"name": "run-8"})
    peers.answer_join = lambda: peers.welcome.model_copy(update={"run": another})
    peers.router.send_multipart([peers.session, Leave(code="unknown", reason="another run").encode()])
    peers.wait_until(lambda: actor.health.run == "run-8")


def test_an_unknown_game_is_a_persons_mistake_and_the_credit_does_not_wait_for_the_lease(
    peers: Peers, actor: Actor
) -> None:
    changed = RUN.model_copy(update={"game": "Brekout"})
    peers.answer_join = lambda: peers.welcome.model_copy(update={"run": changed})
    peers.wait_until(lambda: not actor.thread.is_alive())
    peers.wait_until(lambda: peers.left)
    assert isinstance(actor.failure, UserError)
    assert "did you mean" in str(actor.failure)


@pytest.fixture
def process(peers: Peers, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "headrace_actor", "--gate-address", peers.gate_address]
    command += ["--metrics-port", "0", "--metrics-address-file", str(tmp_path / "metrics")]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as made:
        yield made
        made.kill()


def test_sigterm_sends_what_was_played_says_goodbye_and_exits_0(
    peers: Peers, process: subprocess.Popen[str], tmp_path: Path
) -> None:
    start_playing(peers)
    peers.wait_for_end_of(1)
    with urllib.request.urlopen(f"http://{(tmp_path / 'metrics').read_text().strip()}/metrics") as answer:
        exported = answer.read().decode()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    peers.wait_until(lambda: peers.left)
    assert process.returncode == 0, errors
    assert [leave.code for leave in peers.left] == ["goodbye"]
    used = sum(header.count for header, _ in peers.wait_for_end_of(1))
    assert f'headrace_actor_env_steps_total{{run="run-7"}} {float(used)}' in exported
    assert '"event": "joined"' in output
    assert '"event": "stopped"' in output


def test_an_actor_that_is_stopped_exits_with_the_status_that_was_asked_for(peers: Peers) -> None:
    command = [sys.executable, "-m", "headrace_actor", "--gate-address", peers.gate_address, "--metrics-port", "0"]
    with subprocess.Popen([*command, "--stopped-exit-status", "4"], stdout=subprocess.DEVNULL) as process:
        peers.wait_until(lambda: peers.joined)
        process.send_signal(signal.SIGTERM)
        peers.wait_until(lambda: process.poll() is not None)
    assert process.returncode == 4


BROKEN_GAME = """
import gymnasium

class Broken(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (4,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, **_):
        return self.observation_space.sample(), {}

    def step(self, action):
        raise RuntimeError("the joystick fell off")

gymnasium.register("Broken-v0", Broken, disable_env_checker=True)

from headrace_actor.__main__ import main
main()
"""


def test_an_environment_that_raises_ends_the_process_with_a_clear_line(peers: Peers) -> None:
    broken = RUN.model_copy(update={"game": "Broken-v0"})
    peers.answer_join = lambda: peers.welcome.model_copy(update={"run": broken})
    command = [sys.executable, "-c", BROKEN_GAME, "--gate-address", peers.gate_address, "--metrics-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        start_playing(peers)
        peers.wait_until(lambda: peers.left)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the joystick fell off" in peers.left[0].reason
    assert '"event": "the actor dies of an error"' in output


def test_a_misspelt_flag_is_one_line_and_status_2() -> None:
    command = [sys.executable, "-m", "headrace_actor", "--gate-adress", "tcp://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --gate-adress: no such setting; did you mean --gate-address?\n",
    )
