"""What whoever is let in can do to a run that trains, by a stolen key of an actor; docs/security.md says it too."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import zmq
from curve_by_hand import CurveConnection
from hostile_peers import Target, intruder
from made_up import a_rollout
from secured_gate import service_sockets
from separate_services import Services
from waiting import wait_until

from headrace_learner.subscriptions import MOST_TOPICS
from headrace_proto import keys
from headrace_proto.keys import Keyring
from headrace_proto.messages import (
    PROGRESS_TOPIC,
    SESSION_BYTES,
    WEIGHTS_TOPIC,
    ActorHeartbeat,
    CreditRequest,
    Join,
    Leave,
)
from headrace_proto.sockets import ServiceSockets

CAPACITY = 256
"""The gate's default."""

MADE_UP_RETURN = 1e9
"""Of a game of CartPole, which gives at most 500."""

OF_A_ROLLOUT = b"behaviour_probabilities"
"""In the payload of each, and in nothing else that is sent."""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("keys") / "keys"
    keys.make(made)
    return made


@pytest.fixture(scope="module")
def services(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """With keys; they train."""
    with ExitStack() as stack:
        made = Services(tmp_path_factory.mktemp("services"), stack)
        for role in ("gate", "learner", "actor"):
            made.start(role, folder)
        made.trains_on()
        yield made


@pytest.fixture
def target(services: Services, folder: Path) -> Target:
    return Target(services.addresses, folder)


class Hoarders:
    """Enough of them to take the whole capacity, who never play; each asks for its first credit when it is made."""

    def __init__(self, target: Target, stack: ExitStack) -> None:
        self._all = [stack.enter_context(intruder(target)) for _ in range(8)]
        for one in self._all:
            run = one.join()
            one.say(CreditRequest(credit=1, count=run.credit_per_round, finished=0))

    def renew(self) -> None:
        for one in self._all:
            one.say(ActorHeartbeat(finished=0, env_steps=0, waiting_for=""))

    def leave(self) -> None:
        for one in self._all:
            one.leave()


@contextmanager
def nothing_left(services: Services, target: Target) -> Iterator[Hoarders]:
    """Hoarders who hold so much that nothing more is trained while they renew their leases."""

    def waited() -> float:
        return services.value("actor", "headrace_actor_blocked_seconds_total", waiting_for="credit")

    with ExitStack() as stack:
        hoarders = Hoarders(target, stack)

        def stands_still() -> bool:
            trained, enough = services.trained(), waited() + 3

            def has_waited() -> bool:
                hoarders.renew()
                return waited() >= enough or services.trained() > trained

            wait_until(has_waited)
            return services.trained() == trained

        wait_until(stands_still, seconds=120)
        assert services.value("gate", "headrace_gate_alive_transitions") <= CAPACITY
        yield hoarders


def test_it_can_hold_the_whole_capacity_and_training_goes_on_once_it_has_left(
    services: Services, target: Target
) -> None:
    with nothing_left(services, target) as hoarders:
        hoarders.leave()
        services.trains_on()


def test_what_it_holds_returns_when_its_lease_ends(services: Services, target: Target) -> None:
    with nothing_left(services, target):
        services.trains_on()  # nobody renews any more; they are connected still


def test_a_game_that_it_has_made_up_is_trained_like_any_other(services: Services, target: Target) -> None:
    with intruder(target) as one:
        run = one.join()
        made_up = a_rollout(run, 1, terminated=True, episode_return=MADE_UP_RETURN, episode_length=1)
        one.play(one.credit(1, 1), made_up.encode())

        wait_until(lambda: services.value("learner", "headrace_learner_episode_return_mean") > 500)

        one.leave()


def test_who_knows_anothers_session_can_speak_in_it(services: Services, target: Target) -> None:
    def refused(reason: str) -> float:
        return services.value("gate", "headrace_gate_refused_messages_total", reason=reason)

    before = {reason: refused(reason) for reason in ("duplicate", "unknown_session")}

    with intruder(target) as one, intruder(target) as another:
        run = one.join()
        grant = one.credit(1, 2)
        payload = a_rollout(run, 1).encode()
        another.play(grant, payload, session=one.session, count=1, final=False)
        # Whichever of the two is heard first: the other is a part that has come already, with the same session.
        one.play(grant, payload, count=1, final=False)

        wait_until(lambda: refused("duplicate") > before["duplicate"])

        assert refused("unknown_session") == before["unknown_session"]
        one.leave()


@contextmanager
def bare(target: Target, socket: str, kind: bytes, identity: bytes = b"") -> Iterator[CurveConnection]:
    """A connection to a socket of the gate's with the stolen key, and nothing of ZeroMQ's between."""
    assert target.keys is not None
    ring = Keyring(target.keys, "actor")
    pair = ring.pair()
    with target.raw(socket) as raw:
        yield CurveConnection(raw, ring.current("gate"), pair.public, pair.secret, kind, identity)


class Eavesdropper:
    """Hears as much as the learner lets one connection subscribe to."""

    def __init__(self, target: Target, sockets: ServiceSockets) -> None:
        self.heard: dict[bytes, list[bytes]] = {WEIGHTS_TOPIC: [], PROGRESS_TOPIC: []}
        self._subscriber = sockets.make(zmq.SUB)
        self._subscriber.subscribe(PROGRESS_TOPIC)
        for _ in range(MOST_TOPICS - 1):
            self._subscriber.subscribe(WEIGHTS_TOPIC + secrets.token_bytes(SESSION_BYTES))
        sockets.connect(self._subscriber, target.address("weights"), "weights-address", server="learner")

    def hears_of_each_kind(self) -> bool:
        """Hear what has come; returns whether it is weights as well as progress."""
        while self._subscriber.poll(0):
            topic, body = self._subscriber.recv_multipart()
            self.heard[topic[:-SESSION_BYTES] if topic.startswith(WEIGHTS_TOPIC) else topic].append(body)
        return all(self.heard.values())


def test_it_hears_weights_and_progress_and_nothing_of_what_others_play(services: Services, target: Target) -> None:
    with (
        closing(service_sockets("actor", target.keys)) as sockets,
        bare(target, "control", b"DEALER", identity=secrets.token_bytes(SESSION_BYTES)) as control,
        bare(target, "transitions", b"PUSH") as transitions,
    ):
        control.send(Join(host="thief").encode(), more=False)
        ear = Eavesdropper(target, sockets)
        wait_until(ear.hears_of_each_kind)

        services.trains_on()

        progress = len(ear.heard[PROGRESS_TOPIC])
        wait_until(lambda: ear.hears_of_each_kind() and len(ear.heard[PROGRESS_TOPIC]) > progress)
        control.send(Leave(code="goodbye", reason="").encode(), more=False)
        answers = control.end()
        heard = [*answers, *transitions.end(), *(body for bodies in ear.heard.values() for body in bodies)]
    assert any(b"WELCOME" in answer for answer in answers)
    assert not any(OF_A_ROLLOUT in each for each in heard)


def test_a_message_without_an_end_ends_its_senders_connection_where_there_are_keys(
    services: Services, target: Target
) -> None:
    def cut() -> float:
        return services.value("gate", "headrace_connections_cut_total", reason="endless_message")

    before = cut()

    with bare(target, "transitions", b"PUSH") as connection, suppress(OSError):
        for _ in range(200_000):
            connection.send(bytes(1024), more=True)

    wait_until(lambda: cut() > before)
    services.trains_on()
