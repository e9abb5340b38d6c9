"""The gate among actors, learners and a network that lose, repeat, reorder and crash."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import a_run

from headrace_gate.gate import Addresses, Gate, Limits
from headrace_proto import codec, messages
from headrace_proto.errors import WireError
from headrace_proto.messages import ActorHeartbeat, CreditGrant, CreditRequest, Join, Leave, Progress, RolloutHeader

CAPACITY, BATCH, ENVIRONMENTS, LENGTH, STRAGGLER, PUBLISH_UPDATES = 40, 8, 2, 4, 6, 2
LEASE = 10.0
LAG_BOUND = STRAGGLER + PUBLISH_UPDATES + math.ceil(CAPACITY / BATCH) - 3
RUN = a_run(environments_per_actor=ENVIRONMENTS, rollout_length=LENGTH, batch_size=BATCH)


@dataclass
class SimulatedActor:
    """An actor that keeps the wire specification; what it generates is a list of (header, count)."""

    session: bytes
    joined: bool = False
    credit: int = 0
    finished: int = 0
    count: int = 0
    part: int = 0
    made: int = 0
    weights: tuple[int, int] = (0, 0)


@dataclass
class SimulatedLearner:
    """A learner that trains what it is sent, in order."""

    name: bytes
    gate: bytes = bytes(16)
    generation: int = 0
    version: int = 0
    published: int = 0
    received: int = 0
    trained_batch: int = 0
    trained: int = 0
    held: list[tuple[int, list[RolloutHeader]]] = field(default_factory=list)

    def progress(self) -> Progress:
        return Progress(
            learner=self.name,
            gate=self.gate,
            generation=self.generation,
            version=self.version,
            published_version=self.published,
            env_steps=self.trained,
            received_batch=self.received,
            trained_batch=self.trained_batch,
            trained=self.trained,
            rejected={},
            run=RUN,
            waiting_for="" if self.held else "batch",
            finished=False,
        )


class World:
    """Messages to the gate wait in `network`; steps deliver, lose, repeat and reorder them, and crash processes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.network: list[tuple[str, bytes, bytes]] = []
        self.actors = [self.new_actor() for _ in range(4)]
        self.newest = (0, 0)
        self.learner = SimulatedLearner(self.random.randbytes(16))
        self.largest_lag = 0
        self.gate = self.new_gate()
        self.turn()

    def new_actor(self) -> SimulatedActor:
        return SimulatedActor(self.random.randbytes(16))

    def new_gate(self) -> Gate:
        limits, addresses = Limits(CAPACITY, STRAGGLER, LEASE), Addresses("ipc://a", "ipc://b")
        return Gate(self.random.randbytes(16), limits, addresses)

    def turn(self) -> None:
        self.gate.tick(self.now)
        self.journal = codec.decode(codec.encode(self.gate.state()))
        for session, message in self.gate.outbox.to_actors:
            for index, actor in enumerate(self.actors):
                if actor.session == session and not self.actor_receives(actor, message):
                    self.actors[index] = self.new_actor()
        for header, batch in self.gate.outbox.to_learner:
            self.learner_receives(header, [] if batch is None else [item.header for item in batch.rollouts])
        self.gate.outbox.clear()
        self.check()

    def check(self) -> None:
        ledger = self.gate.ledger
        settled = ledger.returned_total + ledger.trained_total + ledger.rejected.total() + ledger.lost.total()
        assert ledger.alive <= CAPACITY
        assert ledger.promised_total == settled + ledger.alive
        assert ledger.queued == self.gate.queue.transitions
        assert ledger.delivered == sum(batch.count for batch in self.gate.learner.untrained)

    def actor_receives(self, actor: SimulatedActor, message: messages.Message) -> bool:
        """Returns whether the session goes on."""
        if isinstance(message, messages.Welcome):
            actor.joined = True
        elif isinstance(message, CreditGrant) and message.credit == actor.credit and actor.count == 0:
            # The oldest weights that the grant allows: the worst case for the lag.
            actor.count, actor.part, actor.made = message.count, 0, 0
            actor.weights = (message.generation, message.weights_version)
        return not (isinstance(message, Leave) and message.code == "unknown")

    def learner_receives(self, header: messages.BatchHeader, rollouts: list[bytes]) -> None:
        learner = self.learner
        if header.learner != learner.name:
            return
        if not rollouts:
            if learner.generation == 0:
                learner.generation, learner.version = header.generation, header.version
                learner.published = learner.version
                self.newest = max(self.newest, (learner.generation, learner.version))
            learner.gate = header.gate
        elif header.gate == learner.gate and header.batch > learner.received:
            learner.received = header.batch
            learner.held.append((header.batch, [messages.decode(RolloutHeader, data) for data in rollouts]))

    def hear(self, kind: str, sender: bytes, data: bytes) -> None:
        with contextlib.suppress(WireError):
            if kind == "control":
                self.gate.on_actor_message(sender, data, self.now)
            else:
                self.gate.on_rollout(data, b"payload", self.now)
        self.turn()

    def actor_speaks(self, actor: SimulatedActor) -> None:
        message: messages.Message
        if not actor.joined:
            message = Join(host="test")
        elif actor.count == 0:
            actor.credit = actor.finished + 1
            message = CreditRequest(credit=actor.credit, count=ENVIRONMENTS * LENGTH, finished=actor.finished)
        else:
            message = ActorHeartbeat(finished=actor.finished, env_steps=0, waiting_for="")
        self.network.append(("control", actor.session, message.encode()))

    def actor_plays(self, actor: SimulatedActor) -> None:
        if actor.count == 0:
            return
        length = min(self.random.randint(1, LENGTH), actor.count - actor.made)
        actor.made += length
        final = actor.made == actor.count or self.random.random() < 0.1
        header = RolloutHeader(
            session=actor.session,
            actor=0,
            credit=actor.credit,
            part=actor.part,
            final=final,
            count=length,
            generation=actor.weights[0],
            weights_version=actor.weights[1],
        )
        self.network.append(("rollout", actor.session, header.encode()))
        actor.part += 1
        if final:
            actor.finished, actor.count = actor.credit, 0

    def network_delivers_one(self, *, in_order: bool, keep: bool) -> None:
        if self.network:
            index = 0 if in_order else self.random.randrange(len(self.network))
            self.hear(*(self.network[index] if keep else self.network.pop(index)))

    def network_loses_one(self) -> None:
        if self.network:
            self.network.pop(self.random.randrange(len(self.network)))

    def learner_trains(self) -> None:
        learner = self.learner
        if not learner.held:
            return
        number, headers = learner.held.pop(0)
        for header in headers:
            lag = learner.version - header.weights_version
            self.largest_lag = max(self.largest_lag, lag)
            assert lag <= LAG_BOUND, f"a transition with a policy lag of {lag} was trained"
        learner.version += 1
        learner.trained_batch = number
        learner.trained += sum(header.count for header in headers)
        if learner.version - learner.published >= PUBLISH_UPDATES:
            learner.published = learner.version
            self.newest = max(self.newest, (learner.generation, learner.version))

    def learner_reports(self) -> None:
        self.gate.on_progress(self.learner.progress(), self.now)
        self.turn()

    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    def step_well(self) -> None:
        """One step in which nothing fails; the first actor is slow."""
        actor = self.random.choice(self.actors if self.random.random() < 0.1 else self.actors[1:])
        actions: list[tuple[float, Callable[[], None]]] = [
            (3, lambda: self.actor_speaks(actor)),
            (4, lambda: self.actor_plays(actor)),
            (8, lambda: self.network_delivers_one(in_order=True, keep=False)),
            (2, self.learner_trains),
            (2, self.learner_reports),
            (0.5, lambda: self.time_passes(0.2)),
        ]
        self.choose(actions)

    def step_badly(self) -> None:
        """One fault."""
        index = self.random.randrange(len(self.actors))
        actions: list[tuple[float, Callable[[], None]]] = [
            (3, self.network_loses_one),
            (3, lambda: self.network_delivers_one(in_order=False, keep=True)),
            (3, lambda: self.network_delivers_one(in_order=False, keep=False)),
            (1, lambda: self.actors.__setitem__(index, self.new_actor())),
            (1, self.learner_crashes),
            (1, self.gate_crashes),
            (0.5, lambda: self.time_passes(LEASE + 1)),
        ]
        self.choose(actions)

    def choose(self, actions: list[tuple[float, Callable[[], None]]]) -> None:
        self.random.choices([act for _, act in actions], [weight for weight, _ in actions])[0]()

    def learner_crashes(self) -> None:
        self.learner = SimulatedLearner(self.random.randbytes(16))

    def gate_crashes(self) -> None:
        self.gate = self.new_gate()
        self.gate.restore(self.journal, self.now)
        self.turn()

    def heal(self) -> int:
        """No more faults, one live actor: returns the updates of 80 rounds."""
        self.actors = [self.new_actor()]
        before = self.learner.trained
        for _ in range(80):
            self.learner_reports()
            self.actor_speaks(self.actors[0])
            for _ in range(ENVIRONMENTS * LENGTH):
                self.actor_plays(self.actors[0])
            while self.network:
                self.network_delivers_one(in_order=True, keep=False)
            self.learner_trains()
            self.time_passes(1.0)
        return self.learner.trained - before


@given(seed=st.integers(0, 2**32), fault_rate=st.sampled_from([0.0, 0.003, 0.03, 0.2]))
@settings(max_examples=40, deadline=None)
def test_bound_account_and_lag_hold_among_faults_and_a_live_actor_is_served(seed: int, fault_rate: float) -> None:
    world = World(seed)

    for _ in range(1200):
        if world.random.random() < fault_rate:
            world.step_badly()
        else:
            world.step_well()

    assert world.heal() >= 20 * BATCH


def test_without_faults_nothing_is_lost_refused_or_rejected_but_what_a_straggler_owed() -> None:
    world = World(seed=7)

    for _ in range(5000):
        world.step_well()

    assert world.gate.ledger.trained_total > 1000
    assert not world.gate.ledger.lost
    assert set(world.gate.ledger.rejected) <= {"stale"}


def test_the_lag_bound_is_not_idle_talk() -> None:
    largest = 0
    for seed in range(8):
        world = World(seed)
        for _ in range(2500):
            world.step_well()
        largest = max(largest, world.largest_lag)

    assert LAG_BOUND - 3 <= largest <= LAG_BOUND


def test_a_learner_that_falls_silent_is_what_the_gate_waits_for() -> None:
    world = World(seed=1)
    world.learner_reports()
    world.learner_reports()
    world.actor_speaks(world.actors[0])
    world.network_delivers_one(in_order=True, keep=False)
    assert world.gate.waiting_for == ""

    world.time_passes(6.0)
    assert world.gate.waiting_for == "learner"

    world.learner_reports()
    assert world.gate.waiting_for == ""
