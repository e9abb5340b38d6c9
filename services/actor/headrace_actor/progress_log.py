"""One log line every half minute: how fast the actor plays, how well, and what it waited for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping

from headrace_proto.logs import Logger
from headrace_proto.rollouts import Rollout
from headrace_proto.weights import Weights

PERIOD_SECONDS = 30.0
RECENT_GAMES = 100


class ProgressLog:
    """Gathers rounds and writes the line when it is due."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._returns: deque[float] = deque(maxlen=RECENT_GAMES)
        self._env_steps = 0
        self._written_at = time.monotonic()
        self._written_env_steps = 0

    def add_round(self, rollouts: Iterable[Rollout], weights: Weights, waited_seconds: Mapping[str, float]) -> None:
        """Take note of a round; `waited_seconds` are totals by what was waited for."""
        for rollout in rollouts:
            self._env_steps += len(rollout)
            if rollout.episode_return is not None:
                self._returns.append(rollout.episode_return)
        now = time.monotonic()
        elapsed = now - self._written_at
        if elapsed >= PERIOD_SECONDS:
            self._log.info(
                "progress",
                env_steps=self._env_steps,
                env_steps_per_second=round((self._env_steps - self._written_env_steps) / elapsed, 1),
                recent_games=len(self._returns),
                mean_return=round(sum(self._returns) / len(self._returns), 2) if self._returns else None,
                weights_version=weights.version,
                waited_seconds={name: round(seconds, 1) for name, seconds in waited_seconds.items()},
            )
            self._written_at, self._written_env_steps = now, self._env_steps
