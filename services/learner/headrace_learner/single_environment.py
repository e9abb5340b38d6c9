"""One environment whose every emulator frame can be seen, with the preprocessing of the vector environment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import ale_py
import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing
from numpy.typing import NDArray

from headrace_proto import environments
from headrace_proto.specification import RunSpecification

ATARI_FRAMES_PER_SECOND = 60

Show = Callable[[NDArray[np.uint8]], None]
Environment = gymnasium.Env[Any, Any]


class Shown(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Passes what the game looks like to `show`, after each reset and each frame."""

    def __init__(self, environment: Environment, show: Show) -> None:
        super().__init__(environment)
        self._show = show

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset and show."""
        result = self.env.reset(seed=seed, options=options)
        self._show_frame()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step and show."""
        result = self.env.step(action)
        self._show_frame()
        return result

    def _show_frame(self) -> None:
        frame: Any = self.env.render()
        self._show(np.asarray(frame, dtype=np.uint8))


class FireOnReset(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Presses FIRE once at the start of a game that has it."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, then FIRE."""
        result = self.env.reset(seed=seed, options=options)
        meanings = self.env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        if "FIRE" not in meanings:
            return result
        observation, _, terminated, truncated, info = self.env.step(meanings.index("FIRE"))
        return (observation, info) if not terminated and not truncated else self.env.reset(options=options)


class Stacked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """States [S, *frame_shape] of the last S frames, zeros before the first."""

    def __init__(self, environment: Environment, run: RunSpecification) -> None:
        super().__init__(environment)
        self._run = run
        self._frames: deque[NDArray[Any]] = deque(maxlen=run.frame_stack)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset to a state of zeros and the first frame."""
        frame, info = self.env.reset(seed=seed, options=options)
        self._frames.extend([np.zeros(self._run.frame_shape, self._run.frame_dtype)] * self._run.frame_stack)
        return self._state(frame), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        frame, reward, terminated, truncated, info = self.env.step(action)
        return self._state(frame), reward, terminated, truncated, info

    def _state(self, frame: Any) -> NDArray[Any]:
        self._frames.append(np.asarray(frame, dtype=self._run.frame_dtype))
        return np.stack(self._frames)


def make(run: RunSpecification, show: Show) -> Environment:
    """An environment of the run's game that shows every frame; its observations are states, its rewards raw."""
    game = environments.find_game(run.game)
    if not game.is_atari:
        return Stacked(Shown(gymnasium.make(game.name, render_mode="rgb_array"), show), run)
    gymnasium.register_envs(ale_py)
    raw = gymnasium.make(
        game.name,
        render_mode="rgb_array",
        frameskip=1,
        repeat_action_probability=run.sticky_action_probability,
        max_num_frames_per_episode=run.max_episode_frames,
        disable_env_checker=True,
    )
    prepared: Environment = AtariPreprocessing(Shown(raw, show), noop_max=run.noop_max, frame_skip=run.frame_skip)
    return Stacked(FireOnReset(prepared) if run.fire_on_reset else prepared, run)


def frames_per_second(run: RunSpecification) -> int:
    """How fast the frames of a game follow one another in real time."""
    game = environments.find_game(run.game)
    if game.is_atari:
        return ATARI_FRAMES_PER_SECOND
    return int(gymnasium.spec(game.name).make().metadata.get("render_fps", 30))
