"""Runs an actor or the learner as it is, and writes down when each rollout was played and when it was trained.

    observed_service.py actor FILE      one line a rollout: session, credit, part, count, when its round began and ended
    observed_service.py learner FILE    one line a batch: when it was trained, its rollouts, the lag of each transition

Times are of the machine's monotonic clock, which its processes share. Nothing is changed but that four functions also
write. The wire has no times, since clocks of machines differ: so this can only be seen on one machine, from beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from numpy.typing import NDArray

from headrace_proto import messages
from headrace_proto.messages import BatchHeader, RolloutHeader


def observe_actor(file: TextIO) -> None:
    """Write a line for each rollout that is sent."""
    from headrace_actor.gate_link import GateLink
    from headrace_actor.player import Player

    begin_round, transitions = Player.begin_round, GateLink.transitions
    began = 0.0

    def observed_round(player: Player, *arguments: Any) -> None:
        nonlocal began
        began = time.monotonic()
        begin_round(player, *arguments)

    def observed_transitions(link: GateLink, credit: int, weights: Any, rollouts: list[Any]) -> Iterator[Any]:
        ended = time.monotonic()
        for part, rollout in enumerate(rollouts):
            _write(file, [link.identity.hex(), credit, part, len(rollout), began, ended])
        return transitions(link, credit, weights, rollouts)

    _replace(Player, "begin_round", observed_round)
    _replace(GateLink, "transitions", observed_transitions)


def observe_learner(file: TextIO) -> None:
    """Write a line for each batch that is trained."""
    from headrace_learner import batches
    from headrace_learner.batches import Batch
    from headrace_learner.reporting import Reporter

    assemble, trained = batches.assemble, Reporter.trained
    rollouts_of: dict[int, list[list[Any]]] = {}

    def observed_assembly(header: BatchHeader, frames: Sequence[Any], *arguments: Any) -> Batch:
        headers = [messages.decode(RolloutHeader, bytes(frame)) for frame in frames[::2]]
        rollouts_of[header.batch] = [[head.session.hex(), head.credit, head.part] for head in headers]
        return assemble(header, frames, *arguments)

    def observed_training(reporter: Reporter, batch: Batch, updates: Any, lags: NDArray[Any]) -> None:
        rollouts = rollouts_of.pop(batch.header.batch)
        _write(file, [time.monotonic(), [] if batch.rejected else rollouts, lags.tolist()])
        trained(reporter, batch, updates, lags)

    _replace(batches, "assemble", observed_assembly)
    _replace(Reporter, "trained", observed_training)


def _replace(owner: Any, name: str, observed: Callable[..., Any]) -> None:
    setattr(owner, name, observed)


def _write(file: TextIO, record: list[Any]) -> None:
    file.write(json.dumps(record) + "\n")


def main() -> None:
    """Observe and run the service; its settings come from the environment."""
    _, role, path = sys.argv
    sys.argv = [f"headrace-{role}"]
    with open(path, "a", buffering=1) as file:  # noqa: PTH123 a line is there as soon as it is written
        if role == "actor":
            from headrace_actor import __main__ as actor

            observe_actor(file)
            actor.main()
        else:
            from headrace_learner import __main__ as learner

            observe_learner(file)
            learner.main()


if __name__ == "__main__":
    main()
