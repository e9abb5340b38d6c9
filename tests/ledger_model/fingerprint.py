"""Which states are one: those that differ only in names, in the time of day and in where their counting began.

All that the gate and its peers decide by are differences: a credit against the one asked for last, a version against
the learner's, a time against now. So numbers are taken relative to one of their kind, and cut off far beyond the last
difference that decides anything. Sessions have no names here, so actors that changed places are the same state. The
ledger's totals decide nothing; they are checked in every state instead. With this the states of runs of any length are
finitely many. `test_states_that_count_as_one_go_on_alike` holds it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from hashlib import blake2b
from typing import Any

from headrace_gate import epochs
from headrace_gate.ledger import Credit
from headrace_proto import messages
from headrace_proto.messages import BatchHeader, CreditGrant, Progress, RolloutHeader, Session
from ledger_model.world import TICK_SECONDS, Packet, World

Part = tuple[Any, ...]
FAR = 4
OLDEST_TICKS = 2


def fingerprint(world: World) -> bytes:
    """Equal for states from which the same can happen: 16 bytes in place of a thousand, so that millions fit."""
    return blake2b(repr(_Fingerprint(world).whole()).encode(), digest_size=16).digest()


def near(difference: int) -> int:
    """A difference, cut off where it decides nothing any more."""
    return max(-FAR, min(FAR, difference))


class _Fingerprint:
    def __init__(self, world: World) -> None:
        self.world = world
        self.gate = world.gate
        self.account = world.gate.learner
        self.places = {session: place for place, session in enumerate(self.gate.roster._line)}
        self.packets: defaultdict[Session, list[Packet]] = defaultdict(list)
        for packet in world.network:
            self.packets[packet.peer].append(packet)

    def whole(self) -> Part:
        world, account = self.world, self.account
        actors = {actor.identity: actor for actor in world.actors if actor is not None}
        learners = {packet.peer for packet in world.network if isinstance(packet.message, Progress | BatchHeader)}
        sessions = {*actors, *self.gate.roster.seats, *self.gate.ledger.sessions, *self.packets} - learners
        return (
            world.faults,
            tuple(sorted((self.session(session, actors.get(session)) for session in sessions), key=repr)),
            tuple(rollout.count for rollout in self.gate.queue._rollouts),
            self.weights(*world.published),
            account.generation,
            self.epoch(),
            tuple(
                (self.batch(item.number), item.count, bool(item.rollouts), item.sent, self.age(item.sent_at))
                for item in account.untrained
            ),
            None if account.progress is None else self.progress(account.progress),
            self.learner(),
            self.channels_of_learners(learners),
        )

    def epoch(self) -> Part:
        """Whether an epoch is disturbed, and whether another session in it would disturb it."""
        if not self.account.takes_turns:
            return ()
        roster = self.gate.roster
        return bool(epochs.disturbance(self.account, self.gate.ledger, roster)), roster._lives.total() > 0

    def channels_of_learners(self, learners: set[Session]) -> Part:
        found: defaultdict[Any, list[Part]] = defaultdict(list)
        for packet in self.world.network:
            if packet.peer in learners:
                found[packet.channel].append(self.message_of_learner(packet))
        return tuple(sorted(map(tuple, found.values()), key=repr))

    def session(self, session: Session, actor: Any) -> Part:
        seat, owed = self.gate.roster.seats.get(session), self.gate.ledger.credits(session)
        base = self.newest_credit(session, actor)
        return (
            None if actor is None else self.actor(actor, base),
            None
            if seat is None
            else (
                self.age(seat.last_heard),
                near(seat.last_granted - base),
                self.place_in_line(session, base),
                -1 if math.isinf(seat.in_vain_since) else self.age(seat.in_vain_since),
            ),
            tuple(sorted((near(number - base), *self.credit(credit)) for number, credit in owed.items())),
            self.channels(session, base),
        )

    def place_in_line(self, session: Session, base: int) -> Part:
        """What a seat asks for, which is asked again before it counts unless it stands in line."""
        seat = self.gate.roster.seats[session]
        if session not in self.places:
            return ()
        return self.places[session], near(seat.asked_credit - base), seat.asked_count

    def channels(self, session: Session, base: int) -> Part:
        found: defaultdict[Any, list[Part]] = defaultdict(list)
        for packet in self.packets[session]:
            found[packet.channel[1:]].append(self.message(packet, base))
        return tuple((channel, *found[channel]) for channel in sorted(found))

    def newest_credit(self, session: Session, actor: Any) -> int:
        if actor is not None and actor.session is not None:
            return int(actor.session._asked_credit)
        mentioned = [getattr(packet.message, "credit", 0) for packet in self.packets[session]]
        seat = self.gate.roster.seats.get(session)
        return max([0 if seat is None else seat.last_granted, *self.gate.ledger.credits(session), *mentioned])

    def actor(self, actor: Any, base: int) -> Part:
        session = actor.session
        if session is None:
            return (self.world.now >= actor.join_due,)
        return (
            self.grant(actor.grant, base),
            self.grant(session._grant, base),
            session._is_asking,
            session._is_asking and self.world.now >= session._ask_due,
            self.world.now >= session._heartbeat_due,
            self.age(session._heard_at),
            near(session.finished - base),
        )

    def grant(self, grant: CreditGrant | None, base: int) -> Part:
        if grant is None:
            return ()
        return near(grant.credit - base), grant.count, self.weights(grant.generation, grant.weights_version)

    def credit(self, credit: Credit) -> Part:
        return (
            credit.count,
            credit.arrived,
            tuple(sorted(credit.parts)),
            -1 if credit.final_part is None else credit.final_part,
            -1 if credit.finished_at is None else self.age(credit.finished_at),
            near(self.account.version - credit.granted_at_version),
            self.weights(*credit.weights),
        )

    def message(self, packet: Packet, base: int) -> Part:
        message = packet.message
        kind = type(message).__name__
        if isinstance(message, CreditGrant):
            return kind, *self.grant(message, base)
        if isinstance(message, RolloutHeader) and self.is_spent(packet.peer, message.credit):
            return kind, "spent"
        if isinstance(message, RolloutHeader):
            weights = self.weights(message.generation, message.weights_version)
            return kind, near(message.credit - base), message.part, message.final, message.count, weights
        if isinstance(message, messages.CreditRequest):
            return kind, near(message.credit - base), message.count, near(message.finished - base)
        if isinstance(message, messages.ActorHeartbeat):
            return kind, near(message.finished - base)
        return kind, getattr(message, "code", ""), packet.is_for_gate

    def is_spent(self, session: Session, number: int) -> bool:
        """Whether what is sent against a credit is refused from now on."""
        seat = self.gate.roster.seats.get(session)
        return number not in self.gate.ledger.credits(session) and (seat is None or number <= seat.last_granted)

    def message_of_learner(self, packet: Packet) -> Part:
        message = packet.message
        if isinstance(message, Progress):
            return "Progress", *self.progress(message)
        assert isinstance(message, BatchHeader)
        return (
            "Batch",
            self.name_of_learner(message.learner),
            self.name_of_gate(message.gate),
            message.generation,
            self.batch(message.batch) if message.rollouts else None,
            message.count,
            None if message.rollouts else self.version(message.version),
        )

    def progress(self, progress: Progress) -> Part:
        return (
            self.name_of_learner(progress.learner),
            self.name_of_gate(progress.gate),
            progress.generation,
            self.version(progress.version) if progress.generation else "not greeted",
            self.batch(progress.received_batch),
            self.batch(progress.trained_batch),
            near(progress.trained - self.account._settled_trained) if progress.trained else "nothing",
            progress.waiting_for,
        )

    def learner(self) -> Part:
        learner = self.world.learner
        if learner is None:
            return ()
        inbox = tuple(self.message_of_learner(Packet(learner.name, header, False)) for header in learner.inbox)
        return (inbox, *self.progress(learner.progress(self.world.size.run)))

    def name_of_learner(self, name: Session) -> str:
        current = self.world.learner
        if current is not None and name == current.name:
            return "the present" + " known" * (
                self.account.progress is not None and self.account.progress.learner == name
            )
        if self.account.progress is not None and self.account.progress.learner == name:
            return "the last"
        return "retired" if self.account.is_retired(name) else "unknown"

    def is_known(self, learner: Session) -> bool:
        return self.account.progress is not None and self.account.progress.learner == learner

    def name_of_gate(self, name: Session) -> str:
        if name == self.gate.identity or not any(name):
            return "this" if any(name) else "none"
        return "the learner's" if self.world.learner is not None and name == self.world.learner.gate else "another"

    def version(self, version: int) -> int:
        return near(version - self.account.version)

    def weights(self, generation: int, version: int) -> tuple[int, int]:
        return generation, self.version(version)

    def batch(self, number: int) -> int | str:
        return near(number - self.account.batch_number) if number else "none"

    def age(self, since: float) -> int:
        return min(OLDEST_TICKS, round((self.world.now - since) / TICK_SECONDS))
