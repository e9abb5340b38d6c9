"""Environments whose steps take time but no CPU, so that a small machine has the shape of a cluster.

`TimedPixels-v0` has frames as Atari's are, `TimedVector-v0` vectors as CartPole's are. Headrace finds them as it finds
those of any package: through the entry point `gymnasium.envs`, which `as_package` writes.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

STEP_SECONDS_VARIABLE = "TIMED_STEP_SECONDS"
AT_ONCE_VARIABLE = "TIMED_ENVIRONMENTS_AT_ONCE"
EPISODE_STEPS = 1000
OBSERVATIONS = 64

_steps = itertools.count(1)
"""Of all environments of this process."""


class TimedEnvironment(gymnasium.Env[NDArray[Any], Any]):
    """Random observations, the same for all; an episode has 1,000 steps.

    An actor's environments step at once: they take the time of one step together, that of the last to be stepped.
    """

    def __init__(self, shape: tuple[int, ...], actions: int) -> None:
        random = np.random.default_rng(1)
        dtype: Any = np.uint8 if len(shape) > 1 else np.float32
        high = 255 if dtype is np.uint8 else 1
        self.observation_space = Box(0, high, shape, dtype)
        self.action_space = Discrete(actions)
        self._observations = (random.random((OBSERVATIONS, *shape)) * high).astype(dtype)
        self._step_seconds = float(os.environ.get(STEP_SECONDS_VARIABLE, "0"))
        self._at_once = int(os.environ.get(AT_ONCE_VARIABLE, "1"))
        self._played = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._played = 0
        return self._observations[0], {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Wait, and show the next observation."""
        if next(_steps) % self._at_once == 0:
            time.sleep(self._step_seconds)
        self._played += 1
        observation = self._observations[self._played % OBSERVATIONS]
        return observation, 0.0, False, self._played >= EPISODE_STEPS, {}


def register() -> None:
    """Make both known to gymnasium; called through the entry point."""
    for name, shape, actions in (("TimedPixels-v0", (84, 84), 6), ("TimedVector-v0", (4,), 2)):
        gymnasium.register(
            id=name,
            entry_point=f"{__name__}:TimedEnvironment",
            kwargs={"shape": shape, "actions": actions},
            disable_env_checker=True,
        )


def as_package(folder: Path) -> str:
    """Write what makes this module a package with an entry point; returns the PYTHONPATH on which it is one."""
    metadata = folder / "timed_environments-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: timed-environments\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[gymnasium.envs]\n__root__ = {Path(__file__).stem}:register\n")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))
