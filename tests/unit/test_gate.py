"""The gate among actors, learners and a network that lose, repeat, reorder and crash."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_up import a_run

from headrace_gate import epochs, journal
from headrace_gate.account_entries import Entries
from headrace_gate.gate import Addresses, Gate, Limits
from headrace_proto import codec, messages
from headrace_proto.capacity import least_capacity
from headrace_proto.errors import WireError
from headrace_proto.messages import ActorHeartbeat, CreditGrant, CreditRequest, Join, Leave, Progress, RolloutHeader
from headrace_proto.specification import RunSpecification

CAPACITY, BATCH, ENVIRONMENTS, LENGTH, STRAGGLER, PUBLISH_UPDATES = 40, 8, 2, 4, 6, 2
LEASE = 10.0


def lag_bound(capacity: int, straggler_updates: int) -> int:
    return PUBLISH_UPDATES + straggler_updates + math.ceil(capacity / BATCH) - 2


def written_and_read(entries: Entries) -> Entries:
    """What the journal has of entries."""
    return dict(journal.decoded(codec.encode(entries)))


RUN = a_run(environments_per_actor=ENVIRONMENTS, rollout_length=LENGTH, batch_size=BATCH)
LAG_BOUND = lag_bound(CAPACITY, STRAGGLER)
DETERMINISTIC = RUN.model_copy(update={"deterministic": True})
LEAST_CAPACITY = least_capacity(BATCH, ENVIRONMENTS, LENGTH)

TrainedBatch = tuple[int, list[tuple[int, int, int]]]
"""Its number, and of each rollout the credit, the count and the version of the weights."""


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
    run: RunSpecification = RUN
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
            run=self.run,
            waiting_for="" if self.held else "batch",
            finished=False,
        )


class World:
    """Messages to the gate wait in `network`; steps deliver, lose, repeat and reorder them, and crash processes."""

    def __init__(
        self,
        seed: int,
        run: RunSpecification = RUN,
        *,
        capacity: int = CAPACITY,
        straggler_updates: int = STRAGGLER,
        actors: int = 4,
    ) -> None:
        self.run = run
        self.limits = Limits(capacity, straggler_updates, LEASE)
        self.lag_bound = lag_bound(capacity, 1 if run.deterministic else straggler_updates)
        self.games = random.Random(run.seed)
        self.trained: list[TrainedBatch] = []
        self.refusals: dict[bytes, Leave] = {}
        self.random = random.Random(seed)
        self.now = 0.0
        self.network: list[tuple[str, bytes, bytes]] = []
        self.actors = [self.new_actor() for _ in range(actors)]
        self.newest = (0, 0)
        self.learner = SimulatedLearner(self.random.randbytes(16), run)
        self.largest_lag = 0
        self.gate = self.new_gate()
        self.journal = self.whole_account()
        self.turn()

    def new_actor(self) -> SimulatedActor:
        return SimulatedActor(self.random.randbytes(16))

    def new_gate(self) -> Gate:
        return Gate(self.random.randbytes(16), self.limits, Addresses("ipc://a", "ipc://b"))

    def turn(self) -> None:
        self.gate.tick(self.now)
        self.journal |= written_and_read(self.gate.changes())
        for session, message in self.gate.outbox.to_actors:
            for index, actor in enumerate(self.actors):
                if actor.session == session and not self.actor_receives(actor, message):
                    self.actors[index] = self.new_actor()
        for header, batch in self.gate.outbox.to_learner:
            self.learner_receives(header, [] if batch is None else [item.header for item in batch.rollouts])
        self.gate.outbox.clear()
        self.check()

    def whole_account(self) -> Entries:
        return written_and_read(self.gate.state())

    def check(self) -> None:
        self.journal = {key: value for key, value in self.journal.items() if value is not None}
        assert self.journal == {key: value for key, value in self.whole_account().items() if value is not None}
        ledger = self.gate.ledger
        settled = ledger.returned_total + ledger.trained_total + ledger.rejected.total() + ledger.lost.total()
        assert ledger.alive <= self.limits.capacity
        assert ledger.promised_total == settled + ledger.alive
        assert ledger.queued == self.gate.queue.transitions
        assert ledger.delivered == sum(batch.count for batch in self.gate.learner.untrained)

    def actor_receives(self, actor: SimulatedActor, message: messages.Message) -> bool:
        """Returns whether the session goes on."""
        if isinstance(message, messages.Welcome):
            actor.joined = True
        elif isinstance(message, CreditGrant) and message.credit == actor.credit > actor.finished and actor.count == 0:
            # The oldest weights that the grant allows: the worst case for the lag.
            actor.count, actor.part, actor.made = message.count, 0, 0
            actor.weights = (message.generation, message.weights_version)
        elif isinstance(message, Leave):
            self.refusals[actor.session] = message
        return not (isinstance(message, Leave) and message.code == "unknown")

    def learner_receives(self, header: messages.BatchHeader, rollouts: list[bytes]) -> None:
        learner = self.learner
        if header.learner != learner.name:
            return
        if not rollouts:
            is_from_another = (header.gate, header.generation) != (learner.gate, learner.generation)
            if learner.generation and is_from_another and self.run.deterministic:
                self.learner_crashes()  # to go on from its checkpoint
                return
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

    def join(self, actor: SimulatedActor) -> None:
        self.hear("control", actor.session, Join(host="test").encode())

    @property
    def disturbance(self) -> str:
        return epochs.disturbance(self.gate.learner, self.gate.ledger, self.gate.roster)

    def actor_plays(self, actor: SimulatedActor) -> None:
        if actor.count == 0:
            return
        length = min(self.games.randint(1, LENGTH), actor.count - actor.made)
        actor.made += length
        final = actor.made == actor.count or self.games.random() < 0.1
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

    def network_delivers_one_kind(self) -> None:
        """Each socket keeps its order; between control messages and rollouts there is none."""
        kind = self.random.choice(("control", "rollout"))
        index = next((index for index, message in enumerate(self.network) if message[0] == kind), None)
        if index is not None:
            self.hear(*self.network.pop(index))

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
            assert lag <= self.lag_bound, f"a transition with a policy lag of {lag} was trained"
        self.trained.append((number, [(header.credit, header.count, header.weights_version) for header in headers]))
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
        actor = self.random.choice(self.actors if self.random.random() < 0.1 else self.actors[1:] or self.actors)
        actions: list[tuple[float, Callable[[], None]]] = [
            (3, lambda: self.actor_speaks(actor)),
            (4, lambda: self.actor_plays(actor)),
            (8, self.network_delivers_one_kind),
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
        self.learner = SimulatedLearner(self.random.randbytes(16), self.run)

    def gate_crashes(self) -> None:
        self.gate = self.new_gate()
        self.gate.restore(self.journal, self.now)
        self.journal = self.whole_account()
        self.turn()

    def heal(self) -> int:
        """No more faults, one live actor: returns the transitions that are trained in 120 rounds."""
        self.actors = [self.new_actor()]
        before = len(self.trained)
        for _ in range(120):
            self.learner_reports()
            self.actor_speaks(self.actors[0])
            for _ in range(ENVIRONMENTS * LENGTH):
                self.actor_plays(self.actors[0])
            while self.network:
                self.network_delivers_one(in_order=True, keep=False)
            self.learner_trains()
            self.time_passes(1.0)
        return sum(count for _, headers in self.trained[before:] for _, count, _ in headers)


@given(
    seed=st.integers(0, 2**32),
    fault_rate=st.sampled_from([0.0, 0.003, 0.03, 0.2]),
    run=st.sampled_from([RUN, DETERMINISTIC]),
    capacity=st.sampled_from([LEAST_CAPACITY, 2 * BATCH, 3 * BATCH, CAPACITY]),
)
@settings(max_examples=40, deadline=None)
def test_bound_account_and_lag_hold_among_faults_and_a_live_actor_is_served(
    seed: int, fault_rate: float, run: RunSpecification, capacity: int
) -> None:
    world = World(seed, run, capacity=capacity)

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

    assert LAG_BOUND - 4 <= largest <= LAG_BOUND


def play_round(world: World, actor: SimulatedActor, *lengths: int) -> None:
    """Ask for a round, which is granted, and make rollouts of these lengths of it."""
    world.actor_speaks(actor)
    world.network_delivers_one(in_order=True, keep=False)
    assert actor.count == ENVIRONMENTS * LENGTH
    for part, length in enumerate(lengths):
        header = RolloutHeader(
            session=actor.session,
            actor=0,
            credit=actor.credit,
            part=part,
            final=part == len(lengths) - 1,
            count=length,
            generation=actor.weights[0],
            weights_version=actor.weights[1],
        )
        world.hear("rollout", actor.session, header.encode())
    actor.finished, actor.count = actor.credit, 0


def test_what_is_queued_is_a_batch_once_it_cannot_grow_before_something_is_trained() -> None:
    world = World(seed=1, capacity=2 * BATCH, actors=1)
    actor = world.actors[0]
    world.learner_reports()
    world.learner_reports()
    world.join(actor)

    def sent() -> list[int]:
        return [sum(header.count for header in rollouts) for _, rollouts in world.learner.held]

    play_round(world, actor, 4, 3)  # a game ended: 7 of 8
    assert sent() == []
    play_round(world, actor, 4, 4)
    assert sent() == [11]
    assert world.gate.queue.transitions == 4

    world.actor_speaks(actor)
    world.network_delivers_one(in_order=True, keep=False)

    assert actor.count == 0, "11 + 4 + 8 are more than 16"
    assert sent() == [11, 4]


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


def what_is_trained(run: RunSpecification, schedule: int, **limits: int) -> list[TrainedBatch]:
    """The first twenty batches that one actor makes under a schedule in which nothing fails."""
    world = World(schedule, run, actors=1, **limits)
    steps = 0
    while len(world.trained) < 20:
        world.step_well()
        steps += 1
        assert steps < 20_000, "the run stands still"
    return world.trained


@given(
    seed=st.integers(0, 2**31),
    schedules=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)),
    capacity=st.integers(LEAST_CAPACITY, 3 * LEAST_CAPACITY),
    straggler_updates=st.integers(1, STRAGGLER),
)
@settings(max_examples=12, deadline=None)
def test_a_deterministic_run_trains_the_same_whoever_is_fast_and_never_stands_still(
    seed: int, schedules: tuple[int, int], capacity: int, straggler_updates: int
) -> None:
    run = DETERMINISTIC.model_copy(update={"seed": seed})
    limits = {"straggler_updates": straggler_updates}

    one = what_is_trained(run, schedules[0], capacity=LEAST_CAPACITY, **limits)
    other = what_is_trained(run, schedules[1], capacity=capacity)

    assert one == other


def test_any_other_run_trains_what_the_schedule_makes_of_it() -> None:
    one, other = (what_is_trained(RUN, schedule) for schedule in (1, 2))

    assert one != other


def test_in_a_deterministic_run_the_weights_of_a_credit_stay_the_newest_until_its_rollouts_are_there() -> None:
    world = World(seed=3, run=DETERMINISTIC, actors=1)
    actor = world.actors[0]
    rounds = 0

    for _ in range(1000):
        world.step_well()
        if actor.count and actor.part == 0:
            rounds += 1
            assert world.newest == actor.weights
            assert not world.learner.held

    assert rounds > 20


def test_a_deterministic_run_has_one_actor_and_takes_another_once_it_has_left() -> None:
    world = World(seed=1, run=DETERMINISTIC, actors=2)
    first, second = world.actors
    world.learner_reports()
    world.join(first)

    world.join(second)
    assert (first.joined, second.joined) == (True, False)
    assert world.refusals[second.session] == Leave(code="not_ready", reason="a deterministic run has one actor")

    world.hear("control", first.session, Leave(code="goodbye", reason="").encode())
    world.join(second)
    assert second.joined


def test_who_finds_its_credit_used_up_by_another_in_its_name_begins_a_new_session_after_a_lease() -> None:
    world = World(seed=1, actors=1)
    actor = world.actors[0]
    world.learner_reports()
    world.learner_reports()
    world.join(actor)
    play_round(world, actor, LENGTH, LENGTH)
    world.hear("control", actor.session, CreditRequest(credit=2**40, count=LENGTH, finished=0).encode())

    def asks_for_a_lease_and_more() -> None:
        for _ in range(round(LEASE) + 1):
            world.actor_speaks(actor)
            world.network_delivers_one(in_order=True, keep=False)
            assert actor.session not in world.refusals
            world.time_passes(1.0)

    asks_for_a_lease_and_more()
    world.actor_speaks(actor)
    world.network_delivers_one(in_order=True, keep=False)

    assert world.refusals[actor.session].code == "unknown"
    assert world.gate.ledger.lost["actor_gone"] == LENGTH
    assert world.heal() > 10


def a_run_under_way(seed: int) -> World:
    """With rollouts promised, queued and untrained, some by an actor that has left since."""
    world = World(seed)
    while not (world.gate.ledger.outstanding and world.gate.ledger.queued and world.gate.ledger.delivered):
        world.step_well()
    leaving = next(actor for actor in world.actors if world.gate.ledger.credits(actor.session))
    world.hear("control", leaving.session, Leave(code="goodbye", reason="").encode())
    return world


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_another_run_trains_nothing_that_was_played_of_the_one_before(seed: int) -> None:
    world = a_run_under_way(seed)
    alive, lost = world.gate.ledger.alive, world.gate.ledger.lost.copy()
    world.run = RUN.model_copy(update={"game": "another"})
    world.network.clear()

    world.learner_crashes()
    world.learner_reports()
    world.learner_reports()

    assert world.learner.held == []
    assert world.gate.ledger.lost - lost == Counter(run_changed=alive)
    assert world.gate.ledger.alive == 0
    assert world.heal() > 10


def life_of_a_new_actor(world: World) -> int:
    return world.gate.roster.join(world.random.randbytes(16), world.now).life


@pytest.mark.parametrize("env_steps", [0, 5000])
def test_the_games_of_a_run_that_a_gate_has_not_met_count_from_its_env_steps(env_steps: int) -> None:
    world = World(seed=1)
    world.learner.trained = env_steps

    world.learner_reports()

    assert life_of_a_new_actor(world) == env_steps


def test_the_games_of_another_run_count_from_its_env_steps_too() -> None:
    world = a_run_under_way(seed=1)
    world.run = RUN.model_copy(update={"name": "resumed"})

    world.learner_crashes()
    world.learner.trained = 5000
    world.learner_reports()

    assert life_of_a_new_actor(world) == 5000


@pytest.mark.parametrize("crash", [World.learner_crashes, World.gate_crashes])
def test_the_games_of_a_run_that_a_gate_knows_count_on(crash: Callable[[World], None]) -> None:
    world = a_run_under_way(seed=1)

    crash(world)
    world.learner.trained = 5000
    world.learner_reports()

    assert life_of_a_new_actor(world) < 5000


def a_deterministic_run(seed: int = 1) -> World:
    """Under way, with one actor, and nothing lost."""
    world = World(seed, DETERMINISTIC, actors=1)
    for step in range(5000):  # chance decides who does something: seldom has nothing been trained after 200
        if step >= 200 and world.trained:
            break
        world.step_well()
    assert world.trained
    assert world.disturbance == ""
    return world


@given(seed=st.integers(0, 2**31))
@example(seed=41869858)  # trains its first batch late
@settings(max_examples=20, deadline=None)
def test_a_new_learner_of_a_deterministic_run_finds_nothing_alive_and_games_that_nobody_has_played(seed: int) -> None:
    world = a_deterministic_run(seed)
    alive = world.gate.ledger.alive

    world.learner_crashes()
    world.learner.trained = 1000
    world.learner_reports()

    assert world.gate.ledger.alive == 0
    assert world.gate.ledger.lost["epoch"] == world.gate.ledger.lost.total() == alive
    assert world.actors[0].session not in world.gate.roster.seats
    assert world.gate.roster.join(bytes(16), world.now).life == 1000
    assert world.disturbance == ""


def an_actor_dies(world: World) -> None:
    world.actors = [world.new_actor()]
    world.time_passes(LEASE + 1)
    world.learner_reports()
    world.join(world.actors[0])


def an_actor_begins_anew_between_its_credits(world: World) -> None:
    first = world.actors[0]
    while world.gate.ledger.outstanding:
        world.step_well()
    world.hear("control", first.session, Leave(code="goodbye", reason="").encode())
    world.actors = [world.new_actor()]
    world.join(world.actors[0])


@pytest.mark.parametrize("disturb", [an_actor_dies, an_actor_begins_anew_between_its_credits, World.gate_crashes])
def test_a_deterministic_run_that_is_disturbed_begins_its_epoch_again(disturb: Callable[[World], None]) -> None:
    world = a_deterministic_run()
    learner = world.learner.name

    disturb(world)
    world.learner_reports()
    assert world.learner.name != learner, "the learner was not greeted again"

    world.learner_reports()
    assert world.gate.ledger.alive == 0
    assert world.disturbance == ""
    assert world.heal() > 10
