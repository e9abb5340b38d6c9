"""Which worlds are explored: in every `make test`, and by `make prove`."""

from __future__ import annotations

from dataclasses import replace

from ledger_model.world import Size

ONE_ACTOR = Size(
    capacity=2,
    actors=1,
    environments=1,
    rollout_length=1,
    batch_size=1,
    straggler_updates=2,
    rounds=((1,), ()),
    faults=1,
)
TURNS = replace(ONE_ACTOR, deterministic=True)
TWO_ACTORS = replace(ONE_ACTOR, actors=2, rounds=((1,),), faults=0)
CUT_SHORT = replace(ONE_ACTOR, capacity=4, rollout_length=2, batch_size=2, rounds=((2,), (1, 1), (1,)), faults=0)
TWO_ENVIRONMENTS = replace(ONE_ACTOR, capacity=3, environments=2, batch_size=2, rounds=((1, 1), (1,), ()))

QUICK = {
    "one actor, one fault": ONE_ACTOR,
    "one actor in turns, one fault": TURNS,
    "two actors, no fault": TWO_ACTORS,
    "rollouts cut short, no fault": CUT_SHORT,
}
LARGE = {
    "batches of two rollouts, one fault": replace(ONE_ACTOR, capacity=3, batch_size=2),
    "two environments, one fault": TWO_ENVIRONMENTS,
    "rollouts cut short, one fault": replace(CUT_SHORT, faults=1),
    "one actor in turns, two faults": replace(TURNS, faults=2),
    "two actors, empty rounds, no fault": replace(TWO_ACTORS, rounds=((1,), ())),
    "two actors, batches of two, no fault": replace(TWO_ACTORS, capacity=3, batch_size=2, rounds=((1,), ())),
    "two actors in turns, one fault": replace(TWO_ACTORS, deterministic=True, faults=1),
}
