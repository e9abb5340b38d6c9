"""How old each transition was when it was trained, from what `observed_service.py` wrote. Pure, but for `read`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RolloutKey = tuple[str, int, int]
"""Session, credit and part: one rollout, in the whole run."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class PlayedRollout:
    """Transitions of a rollout, and when its round began and ended, in seconds."""

    count: int
    began: float
    ended: float

    def times(self) -> Floats:
        """When each transition was made, float64 [count]: evenly over the round, which has the steps of a rollout.

        Of a rollout that ended early this is wrong by less than the round lasted.
        """
        steps = np.arange(1, self.count + 1) / self.count
        return self.began + steps * (self.ended - self.began)


@dataclass(frozen=True, slots=True)
class Observed:
    """Transitions as they were trained, in that order.

    trained_at: float64 [N], seconds of the clock; ages: float64 [N], seconds; lags: int64 [N], updates
    """

    trained_at: Floats
    ages: Floats
    lags: NDArray[np.int64]

    def between(self, began: float, ended: float) -> Observed:
        """What was trained in that time."""
        chosen = (self.trained_at >= began) & (self.trained_at < ended)
        return Observed(self.trained_at[chosen], self.ages[chosen], self.lags[chosen])

    def quantiles(self) -> dict[str, dict[str, float]]:
        """Of lags and ages, by share."""
        return {
            name: {f"{share:g}": float(np.quantile(values, share)) for share in QUANTILES}
            for name, values in (("lag_updates", self.lags), ("age_seconds", self.ages))
            if len(values)
        }


def observe(batches: Iterable[Sequence[Any]], played: Mapping[RolloutKey, PlayedRollout]) -> Observed:
    """Join batches, as (trained at, rollouts, lags), with the rounds in which their rollouts were played.

    A batch with a rollout that is not known, because its actor had not written it down yet, is left out whole.
    """
    trained_at: list[Floats] = [np.empty(0)]
    ages: list[Floats] = [np.empty(0)]
    lags: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for at, rollouts, batch_lags in batches:
        keys: list[RolloutKey] = [(session, credit, part) for session, credit, part in rollouts]
        if not keys or not all(key in played for key in keys):
            continue
        times = np.concatenate([played[key].times() for key in keys])
        if len(times) == len(batch_lags):
            trained_at.append(np.full(len(times), at))
            ages.append(at - times)
            lags.append(np.array(batch_lags, np.int64))
    return Observed(np.concatenate(trained_at), np.concatenate(ages), np.concatenate(lags))


def joined(observed: Sequence[Observed]) -> Observed:
    """Those of several rounds as one."""
    return Observed(
        np.concatenate([each.trained_at for each in observed]),
        np.concatenate([each.ages for each in observed]),
        np.concatenate([each.lags for each in observed]),
    )


def read(learner: Path, actors: Iterable[Path]) -> Observed:
    """What learner and actors wrote; a last line cut short is left out."""
    played = {
        (session, credit, part): PlayedRollout(count, began, ended)
        for path in actors
        for session, credit, part, count, began, ended in _lines(path)
    }
    return observe(_lines(learner), played)


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
