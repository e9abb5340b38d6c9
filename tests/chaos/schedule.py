"""Which fault strikes what, when and for how long: a pure function of the seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: what it may strike, for how many seconds, how hard, and how often beside the other kinds.

    `amount` is the kind's own: a probability, seconds, a share of the time. `stops_training` says that nothing need be
    trained while it is in force.
    """

    name: str
    targets: tuple[str, ...]
    seconds: tuple[float, float]
    amount: tuple[float, float] = (0.0, 0.0)
    times: int = 1
    stops_training: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at` seconds after the beginning, in force for `seconds`; the rest is its kind's."""

    at: float
    kind: str
    target: str
    seconds: float
    amount: float
    stops_training: bool = False

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind:<22} {self.target:<14} {self.seconds:5.1f} s  {self.amount:g}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run's faults in the order in which they strike, and all that it takes to bring them back."""

    seed: int
    seconds: float
    actors: int
    lease_seconds: float
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        """For `--schedule FILE`."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """The schedule of `to_json`; raises ValueError, LookupError or TypeError for anything else."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "faults": tuple(Fault(**fault) for fault in fields["faults"])})


def draw(
    seed: int,
    seconds: float,
    count: int,
    actors: int,
    lease_seconds: float,
    kinds: Sequence[Kind],
    families: Sequence[Sequence[Kind]] = (),
) -> Schedule:
    """`count` faults, one at a random moment of each equal part of the time; kinds come as cards from a deck.

    With families, which are parts of the deck, at least one fault is of each: a schedule of fewer faults than the deck
    has cards leaves none of them to chance. Raises ValueError for fewer faults than families.
    """
    random = Random(seed)
    deck = _with_one_of_each(random, kinds, families, count) if families else _cards(random, kinds)
    gap = seconds / count
    faults = []
    for index in range(count):
        kind = next(deck)
        faults.append(
            Fault(
                at=round(gap * (index + random.random()), 2),
                kind=kind.name,
                target=random.choice(kind.targets),
                seconds=round(random.uniform(*kind.seconds), 2),
                amount=round(random.uniform(*kind.amount), 3),
                stops_training=kind.stops_training,
            )
        )
    return Schedule(seed, seconds, actors, lease_seconds, tuple(faults))


def _cards(random: Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """Kinds for ever, each as often as its `times` before the deck is shuffled anew, so that none stays away."""
    while True:
        deck = [kind for kind in kinds for _ in range(kind.times)]
        random.shuffle(deck)
        yield from deck


def _with_one_of_each(
    random: Random, kinds: Sequence[Kind], families: Sequence[Sequence[Kind]], count: int
) -> Iterator[Kind]:
    """`count` kinds in a random order: the first card of each family's own deck, and the others from the whole deck."""
    if count < len(families):
        raise ValueError(f"{count} faults cannot be of {len(families)} families")
    drawn = [next(_cards(random, family)) for family in families]
    drawn += islice(_cards(random, kinds), count - len(families))
    random.shuffle(drawn)
    return iter(drawn)
