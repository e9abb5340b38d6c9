"""The world that is explored: the gate, its peers, and what the network holds. A state is one moment of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property

from made_up import a_run

from headrace_actor.session import SessionLost
from headrace_gate.gate import Addresses, Gate, Limits
from headrace_proto import codec, messages
from headrace_proto.errors import WireError
from headrace_proto.messages import BatchHeader, Message, Progress, RolloutHeader
from headrace_proto.specification import RunSpecification
from ledger_model.clone import clone
from ledger_model.peers import Actor, Learner

LEASE_SECONDS = 10.0
TICK_SECONDS = 6.0
"""Time passes in steps of more than half a lease: whoever is not heard for two of them is gone."""


@dataclass(frozen=True)
class Size:
    """How large a world is explored.

    `rounds` are the rounds that an actor may play, each as the lengths of its rollouts; `faults` is how many may
    happen.
    """

    capacity: int
    actors: int
    environments: int
    rollout_length: int
    batch_size: int
    straggler_updates: int
    rounds: tuple[tuple[int, ...], ...]
    faults: int
    deterministic: bool = False

    @cached_property
    def run(self) -> RunSpecification:
        """The run that the learner describes."""
        return a_run(
            environments_per_actor=self.environments,
            rollout_length=self.rollout_length,
            batch_size=self.batch_size,
            deterministic=self.deterministic,
        )


@dataclass(frozen=True, slots=True)
class Packet:
    """A message under way; `peer` is who is at its other end, an actor's session or a learner's name."""

    peer: messages.Session
    message: Message
    is_for_gate: bool

    @property
    def channel(self) -> tuple[messages.Session, bool, bool]:
        """The connection that it is on, which keeps its order unless something fails; learners share the gate's."""
        if isinstance(self.message, Progress):
            return b"", True, False
        return self.peer, self.is_for_gate, isinstance(self.message, RolloutHeader)


class World:
    """Nothing here decides: each method lets one thing happen, and `check` says what must hold after it."""

    def __init__(self, size: Size, gate: type[Gate] = Gate) -> None:
        self.size = size
        self.gate_class = gate
        self.names_given = 0
        self.now = 0.0
        self.faults = 0
        self.network: list[Packet] = []
        self.actors: list[Actor | None] = [None] * size.actors
        self.learner: Learner | None = None
        self.published = (0, 0)
        self.settled: set[tuple[messages.Session, int]] = set()
        self.gate = self._new_gate()

    def copy(self) -> World:
        """The same moment once more; what changes gate, actors or learner gives the world its own of it first."""
        other = World.__new__(type(self))
        other.__dict__ = self.__dict__ | {
            "network": list(self.network),
            "settled": set(self.settled),
            "actors": list(self.actors),
        }
        return other

    def start_actor(self, place: int) -> None:
        """An actor's process begins, or begins anew."""
        self.actors[place] = Actor(self._new_name(), join_due=self.now)

    def start_learner(self) -> None:
        """A learner's process begins; it goes on from any checkpoint, since versions come from the gate."""
        self.learner = Learner(self._new_name())

    def kill_actor(self, place: int, with_messages: bool = False) -> None:
        """SIGKILL: what it has sent is still under way, or gone with it."""
        self._lose_of(self.own_actor(place).identity if with_messages else None)
        self.actors[place] = None
        self.forget_the_dead()

    def kill_learner(self, with_messages: bool = False) -> None:
        """SIGKILL: the same."""
        self._lose_of(self.own_learner().name if with_messages else None)
        self.learner = None
        self.forget_the_dead()

    def restart_gate(self, with_messages: bool = False) -> None:
        """SIGKILL, and another from the journal, which was written before the last messages were sent.

        With messages, all that was under way to it and from it is gone: it died between journal and sockets.
        """
        if with_messages:
            self.network = []
        journal = codec.decode(codec.encode(self.gate.state()))
        self.gate = self._new_gate()
        self.gate.restore(journal, self.now)
        self.turn()

    def actor_leaves(self, place: int) -> None:
        """SIGTERM: it says goodbye."""
        actor = self.own_actor(place)
        self._send(actor.identity, messages.Leave(code="goodbye", reason=""))
        self.actors[place] = None
        self.forget_the_dead()

    def actor_speaks(self, place: int) -> None:
        """It sends what is due, or begins a new session if the gate has been silent for a lease."""
        actor = self.own_actor(place)
        try:
            said = actor.speak(self.size.run, self.now)
        except SessionLost:
            self.start_actor(place)
            return
        for message in said:
            self._send(actor.identity, message)

    def actor_plays(self, place: int, lengths: tuple[int, ...]) -> None:
        """It plays a round and sends the rollouts."""
        actor = self.own_actor(place)
        for message in actor.play(lengths, self.size.run, self.now):
            self._send(actor.identity, message)

    def learner_works(self) -> None:
        """It takes what arrived first, trains it or is greeted by it, and publishes; or goes on from a checkpoint."""
        learner = self.own_learner()
        if learner.work(has_epochs=self.size.deterministic):
            self.start_learner()
            self.forget_the_dead()
            return
        self.published = max(self.published, (learner.generation, learner.version))

    def learner_reports(self) -> None:
        """It sends PROGRESS."""
        learner = self.own_learner()
        self._send(learner.name, learner.progress(self.size.run))

    def time_passes(self) -> None:
        """More than half a lease goes by."""
        self.now += TICK_SECONDS
        self.gate = clone(self.gate)
        self.turn()

    def lose(self, index: int) -> None:
        """The network loses a packet."""
        del self.network[index]

    def deliver_again(self, index: int) -> None:
        """A packet arrives, and is still under way."""
        packet = self.network[index]
        self.deliver(index)
        self.network.insert(index, packet)
        self.forget_the_dead()

    def deliver(self, index: int) -> None:
        """A packet arrives."""
        packet = self.network.pop(index)
        if packet.is_for_gate:
            self.gate = clone(self.gate)
            with contextlib.suppress(WireError):
                self._gate_hears(packet)
            self.turn()
        elif isinstance(packet.message, BatchHeader):
            if self.learner is not None:
                self.own_learner().hear(packet.message)
        else:
            self._actor_hears(packet)

    def turn(self) -> None:
        """What the gate's loop does after it has received."""
        self.gate.tick(self.now)
        outbox = self.gate.outbox
        for session, message in outbox.to_actors:
            if isinstance(message, messages.GateHeartbeat):
                # It changes nothing but when the actor last heard of the gate: it need not be under way.
                self._actor_hears(Packet(session, message, False))
            else:
                self.network.append(Packet(session, message, False))
        self.network += [Packet(header.learner, header, False) for header, _ in outbox.to_learner]
        outbox.clear()
        self.gate.waits.clear()
        self.forget_the_dead()

    def forget_the_dead(self) -> None:
        """What is under way to a process that is gone arrives nowhere."""
        living = {actor.identity for actor in self.actors if actor is not None}
        if self.learner is not None:
            living.add(self.learner.name)
        self.network = [packet for packet in self.network if packet.is_for_gate or packet.peer in living]

    def own_actor(self, place: int) -> Actor:
        """The actor at a place, to change."""
        actor = self.actors[place] = clone(self.actors[place])
        assert actor is not None
        return actor

    def own_learner(self) -> Learner:
        """The learner, to change."""
        learner = self.learner = clone(self.learner)
        assert learner is not None
        return learner

    def _gate_hears(self, packet: Packet) -> None:
        message = packet.message
        if isinstance(message, Progress):
            self.gate.on_progress(message, self.now)
        elif isinstance(message, RolloutHeader):
            self.gate.on_rollout(message.encode(), b"", self.now)
        else:
            self.gate.on_actor_message(packet.peer, message.encode(), self.now)

    def _actor_hears(self, packet: Packet) -> None:
        for place, actor in enumerate(self.actors):
            if actor is not None and actor.identity == packet.peer:
                try:
                    self.own_actor(place).hear(packet.message, self.size.run, self.now)
                except SessionLost:
                    self.start_actor(place)

    def _lose_of(self, sender: messages.Session | None) -> None:
        self.network = [packet for packet in self.network if not (packet.is_for_gate and packet.peer == sender)]

    def _send(self, peer: messages.Session, message: Message) -> None:
        self.network.append(Packet(peer, message, True))

    def _new_gate(self) -> Gate:
        limits = Limits(self.size.capacity, self.size.straggler_updates, LEASE_SECONDS)
        return self.gate_class(self._new_name(), limits, Addresses("ipc://t", "ipc://w"))

    def _new_name(self) -> messages.Session:
        self.names_given += 1
        return self.names_given.to_bytes(messages.SESSION_BYTES, "big")
