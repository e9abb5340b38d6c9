"""Breadth first through all states, so that the first violation met has the shortest trace that leads to one."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace_proto.errors import HeadraceError
from ledger_model.fingerprint import fingerprint
from ledger_model.invariants import broken
from ledger_model.moves import Move, moves
from ledger_model.world import World


@dataclass(frozen=True, slots=True)
class Violation:
    """What went wrong, and the moves that lead there."""

    sentence: str
    trace: list[str]

    def __str__(self) -> str:
        """One move a line."""
        return "\n".join([self.sentence, *(f"{number:3} {text}" for number, text in enumerate(self.trace, 1))])


@dataclass
class Exploration:
    """What was seen. `healthy` are the moves in which nothing fails, as states by the state that they lead to."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    violation: Violation | None = None
    steps_to_training: int = 0
    steps_to_no_debt: int = 0
    parents: list[tuple[int, str]] = field(default_factory=list)
    healthy: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    alive: set[int] = field(default_factory=set)
    trains: set[int] = field(default_factory=set)
    owes_nothing: set[int] = field(default_factory=set)

    def trace(self, state: int) -> list[str]:
        """The moves to a state from the beginning."""
        texts = []
        while state:
            state, text = self.parents[state]
            texts.append(text)
        return texts[::-1]


def explore(beginning: World) -> Exploration:
    """All states that can be reached, until the first violation; then whether each of them can go on."""
    seen = Exploration()
    numbers: dict[bytes, int] = {fingerprint(beginning): 0}
    seen.parents.append((0, ""))
    frontier = deque([(0, 0, beginning)])
    while frontier:
        number, seen.depth, world = frontier.popleft()
        _note(seen, number, world)
        for move in moves(world):
            seen.transitions += 1
            after, sentence = _after(world, move)
            if sentence:
                seen.violation = Violation(sentence, [*seen.trace(number), move.text])
                seen.states = len(numbers)
                return seen
            found = fingerprint(after)
            if found not in numbers:
                numbers[found] = len(numbers)
                seen.parents.append((number, move.text))
                frontier.append((numbers[found], seen.depth + 1, after))
            if move.is_healthy:
                seen.healthy[numbers[found]].append(number)
                if after.gate.ledger.trained_total > world.gate.ledger.trained_total:
                    seen.trains.add(number)
    seen.states = len(numbers)
    _check_that_all_go_on(seen)
    return seen


def _after(world: World, move: Move) -> tuple[World, str]:
    after = world.copy()
    after.faults += move.faults
    try:
        move.act(after)
    except (HeadraceError, LookupError, AssertionError) as error:
        return after, f"the gate fails: {error!r}"
    return after, broken(world, after)


def _note(seen: Exploration, number: int, world: World) -> None:
    if world.learner is not None and any(world.actors):
        seen.alive.add(number)
    if not world.gate.ledger.outstanding:
        seen.owes_nothing.add(number)


def _check_that_all_go_on(seen: Exploration) -> None:
    """From each state with a live actor and learner, moves in which nothing fails lead to training."""
    distances = _distances(seen.healthy, seen.trains)
    debts = _distances(seen.healthy, seen.owes_nothing)
    for found, sentence in (
        (distances, "no batch will ever be trained again"),
        (debts, "a credit is out for ever"),
    ):
        stuck = seen.alive - found.keys()
        if stuck:
            seen.violation = Violation(sentence, seen.trace(min(stuck)))
            return
    seen.steps_to_training = max((distances[state] + 1 for state in seen.alive), default=0)
    seen.steps_to_no_debt = max((debts[state] for state in seen.alive), default=0)


def _distances(edges: dict[int, list[int]], goals: Iterable[int]) -> dict[int, int]:
    """How many moves at least from each state to a goal, for the states that have a way."""
    distances = dict.fromkeys(goals, 0)
    queue = deque(distances)
    while queue:
        state = queue.popleft()
        for before in edges.get(state, ()):
            if before not in distances:
                distances[before] = distances[state] + 1
                queue.append(before)
    return distances
