"""What may happen in a state, as moves: one thing each, with what it costs of the faults that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from headrace_proto.messages import BatchHeader, Progress, RolloutHeader, Session
from ledger_model.world import Packet, World


@dataclass(frozen=True, slots=True)
class Move:
    """`is_healthy` is what happens by itself where nothing fails and nobody comes or goes."""

    text: str
    act: Callable[[World], object]
    is_healthy: bool = True
    faults: int = 0


def moves(world: World) -> list[Move]:
    """All that may happen next."""
    healthy = [*_peers_act(world), *_packets_arrive(world)]
    if not healthy:
        # Where nothing fails, messages arrive and processes act within half a lease.
        healthy = [Move("half a lease passes", World.time_passes)]
    elif world.faults < world.size.faults:
        healthy.append(Move("half a lease passes with all this undone", World.time_passes, is_healthy=False, faults=1))
    others = [*_starts(world)]
    if world.faults < world.size.faults:
        others += [replace(move, is_healthy=False, faults=1) for move in (*_ends(world), *_network_fails(world))]
    return healthy + others


def _at(act: Callable[..., object], *where: object) -> Callable[[World], object]:
    """What happens, to whom or to which packet."""
    return lambda world: act(world, *where)


def _peers_act(world: World) -> Iterator[Move]:
    for place, actor in enumerate(world.actors):
        if actor is None:
            continue
        if actor.has_to_say(world.now):
            yield Move(f"actor {place} says what is due", _at(World.actor_speaks, place))
        elif actor.grant is not None and (actor.grant.generation, actor.grant.weights_version) <= world.published:
            room = world.size.capacity - _rollouts_under_way(world, actor.identity)
            for lengths in world.size.rounds:
                if len(lengths) <= room:
                    yield Move(
                        f"actor {place} plays rollouts of {list(lengths)}",
                        _at(World.actor_plays, place, lengths),
                    )
    if world.learner is None:
        return
    if world.learner.inbox:
        yield Move("the learner takes what came first", World.learner_works)
    if _has_to_report(world):
        yield Move("the learner reports", World.learner_reports)


def _rollouts_under_way(world: World, session: Session) -> int:
    """A socket's high-water mark bounds them: without one, those that nobody will take could pile up for ever."""
    return sum(packet.peer == session and isinstance(packet.message, RolloutHeader) for packet in world.network)


def _has_to_report(world: World) -> bool:
    """Whether a report would change anything; a report says all, so one at a time is under way."""
    assert world.learner is not None
    account, name = world.gate.learner, world.learner.name
    if any(isinstance(packet.message, Progress) and packet.peer == name for packet in world.network):
        return False
    if world.learner.progress(world.size.run) != account.progress:
        return not account.is_retired(name)
    is_being_greeted = bool(world.learner.inbox) or any(
        isinstance(packet.message, BatchHeader) and not packet.message.rollouts and packet.peer == name
        for packet in world.network
    )
    return not account.is_greeted and not is_being_greeted


def _packets_arrive(world: World) -> Iterator[Move]:
    for index, packet in _first_of_each_channel(world.network):
        yield Move(f"{_name(packet)} arrives", _at(World.deliver, index))


def _starts(world: World) -> Iterator[Move]:
    for place, actor in enumerate(world.actors):
        if actor is None:
            yield Move(f"actor {place} starts", _at(World.start_actor, place), is_healthy=False)
    if world.learner is None:
        yield Move("a learner starts", World.start_learner, is_healthy=False)


def _ends(world: World) -> Iterator[Move]:
    for place, actor in enumerate(world.actors):
        if actor is not None:
            yield Move(f"actor {place} is killed", _at(World.kill_actor, place))
            if _has_sent(world, actor.identity):
                yield Move(f"actor {place} is killed with what it has sent", _at(World.kill_actor, place, True))
            if actor.session is not None:
                yield Move(f"actor {place} leaves", _at(World.actor_leaves, place))
    if world.learner is not None:
        yield Move("the learner is killed", World.kill_learner)
        if _has_sent(world, world.learner.name):
            yield Move("the learner is killed with what it has sent", _at(World.kill_learner, True))
    yield Move("the gate is killed and restarts from its journal", World.restart_gate)
    if world.network:
        yield Move(
            "the gate is killed with all under way, and restarts from its journal", _at(World.restart_gate, True)
        )


def _has_sent(world: World, peer: Session) -> bool:
    return any(packet.is_for_gate and packet.peer == peer for packet in world.network)


def _network_fails(world: World) -> Iterator[Move]:
    first = dict(_first_of_each_channel(world.network))
    for index, packet in enumerate(world.network):
        name = _name(packet)
        yield Move(f"{name} is lost", _at(World.lose, index))
        if isinstance(packet.message, Progress) and index not in first:
            # One connection to one address after another: what a learner said comes before what its successor says.
            continue
        yield Move(f"{name} arrives, and will again", _at(World.deliver_again, index))
        if index not in first:
            yield Move(f"{name} overtakes others and arrives", _at(World.deliver, index))


def _first_of_each_channel(network: list[Packet]) -> Iterator[tuple[int, Packet]]:
    seen = set()
    for index, packet in enumerate(network):
        if packet.channel not in seen:
            seen.add(packet.channel)
            yield index, packet


def _name(packet: Packet) -> str:
    fields = {"credit", "count", "part", "final", "finished", "batch", "trained", "code"}
    said = packet.message.model_dump(include=fields)
    words = " ".join(f"{name}={value}" for name, value in said.items())
    way = "from" if packet.is_for_gate else "for"
    return f"{packet.message.kind} {words} {way} {int.from_bytes(packet.peer, 'big')}"
