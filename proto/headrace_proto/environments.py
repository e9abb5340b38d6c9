"""Games: names, suggestions, and vector environments with the preprocessing of the DQN papers.

Atari games run in ALE's own vector environment. Any other gymnasium environment with a discrete action space and a
Box observation runs in gymnasium's. Both step all environments at once and reset an ended game at the step after its
end, so that the last observation of a game is seen.
"""

from __future__ import annotations

import difflib
import functools
import re
from contextlib import closing, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import gymnasium
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.envs.registration import namespace
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from headrace_proto.errors import UserError
from headrace_proto.specification import (
    LEAST_ACTIONS,
    LONGEST_SIDE,
    MOST_ACTIONS,
    MOST_DIMENSIONS,
    RunSpecification,
)

FRAME_PIXELS = 84
ENTRY_POINT = "gymnasium.envs"
VectorEnvironment = VectorEnv[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Game:
    """A game by its canonical name, e.g. "ALE/Breakout-v5" or "CartPole-v1"; `rom` is set for Atari games."""

    name: str
    rom: str | None

    @property
    def is_atari(self) -> bool:
        """Whether ALE plays it."""
        return self.rom is not None


@dataclass(frozen=True, slots=True)
class Spaces:
    """What a network must know of a game: shape and dtype of one frame, and the number of actions."""

    frame_shape: tuple[int, ...]
    frame_dtype: Literal["|u1", "<f4"]
    actions: int


def find_game(name: str) -> Game:
    """The game meant by `Breakout-v0`, `ALE/Breakout-v5`, `breakout` or `CartPole-v1`.

    An environment of another package is found if the package registers it through the entry point `gymnasium.envs`;
    the form `module:Id` is refused, since a name from the wire may not import code.
    Raises UserError with the nearest names for one that is not known.
    """
    atari = {_squeeze(rom): rom for rom in roms.get_all_rom_ids()}
    bare = re.sub(r"(NoFrameskip|Deterministic)?-v\d+$", "", name.removeprefix("ALE/"))
    rom = atari.get(_squeeze(bare))
    if rom is not None:
        return Game(f"ALE/{_camel(rom)}-v5", rom)
    _register_installed()
    try:
        return Game(gymnasium.spec(name).id, None)
    except gymnasium.error.Error:
        raise UserError(f"--game {name}: no such game; {_suggestions(name, bare, atari)}") from None


def spaces(game: Game) -> Spaces:
    """Frame and actions of a game; raises UserError for one that Headrace cannot play."""
    if game.rom is not None:
        with closing(AtariVectorEnv(game.rom, num_envs=1)) as atari:
            return Spaces((FRAME_PIXELS, FRAME_PIXELS), "|u1", len(atari.ale.get_action_set()))
    environment = _make(game)
    observation, action = environment.observation_space, environment.action_space
    environment.close()
    box, discrete = gymnasium.spaces.Box, gymnasium.spaces.Discrete
    if not isinstance(observation, box) or not isinstance(action, discrete) or action.start != 0:
        raise UserError(
            f"--game {game.name}: has observations {observation} and actions {action}; "
            "allowed: a Box observation and a Discrete action space from 0"
        )
    _require_within_limits(game, observation.shape, int(action.n))
    dtype: Literal["|u1", "<f4"] = "|u1" if observation.dtype == np.uint8 else "<f4"
    return Spaces(observation.shape, dtype, int(action.n))


def action_names(game: Game) -> list[str]:
    """Meanings of the actions, for checkpoints and error messages: ["NOOP", "FIRE", ...] for Atari."""
    if game.rom is None:
        return [str(action) for action in range(spaces(game).actions)]
    with closing(AtariVectorEnv(game.rom, num_envs=1)) as atari:
        return [action.name for action in atari.ale.get_action_set()]


def make_vector(run: RunSpecification, count: int | None = None) -> VectorEnvironment:
    """`count` environments of the run's game (default: as many as an actor has), rewards unclipped.

    Observations: [count, S, *frame_shape] for Atari, S being the frame stack, [count, *frame_shape] otherwise.
    """
    game = find_game(run.game)
    count = count or run.environments_per_actor
    if game.rom is None:
        return SyncVectorEnv([lambda: _make(game)] * count, autoreset_mode=AutoresetMode.NEXT_STEP, copy=True)
    return AtariVectorEnv(
        game.rom,
        num_envs=count,
        num_threads=1,
        stack_num=run.frame_stack,
        frameskip=run.frame_skip,
        maxpool=run.frame_skip > 1,
        noop_max=run.noop_max,
        use_fire_reset=run.fire_on_reset,
        # ALE's own episodic_life starts a new game at every lost life, so that later lives are never seen; the actor
        # ends the learning episode at a lost life itself, and the game goes on.
        episodic_life=False,
        reward_clipping=False,
        repeat_action_probability=run.sticky_action_probability,
        max_num_frames_per_episode=run.max_episode_frames,
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )


def stacked(observations: NDArray[Any], run: RunSpecification) -> NDArray[Any]:
    """Observations as states [N, S, *frame_shape] in the run's dtype; environments without a stack have S = 1."""
    shape = (len(observations), *run.state_shape)
    return observations.reshape(shape).astype(run.frame_dtype, copy=False)


@functools.cache
def _register_installed() -> None:
    """Let installed packages register their environments, once: gymnasium itself does not do it any more since 1.0.

    An entry point named `__root__` registers names as they are, another one in the namespace of its name. Raises
    UserError for a package that fails.
    """
    for entry_point in metadata.entry_points(group=ENTRY_POINT):
        try:
            with nullcontext() if entry_point.name == "__root__" else namespace(entry_point.name):
                entry_point.load()()
        except Exception as error:  # a package may be anybody's code, and fail in any way
            raise UserError(
                f"--game: {entry_point.value}, entry point {ENTRY_POINT} of an installed package, fails: {error!r}; "
                "repair or uninstall the package"
            ) from error


def _make(game: Game) -> gymnasium.Env[Any, Any]:
    """One environment of gymnasium's; raises UserError if it cannot be made here."""
    try:
        return gymnasium.make(game.name)
    except Exception as error:  # an environment may be anybody's code: what it lacks, it says in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"--game {game.name}: cannot be made here: {reason}; install what it needs, or choose another game"
        ) from error


def _require_within_limits(game: Game, shape: tuple[int, ...], actions: int) -> None:
    """Raise UserError for what a RunSpecification does not allow."""
    if len(shape) > MOST_DIMENSIONS or not all(1 <= side <= LONGEST_SIDE for side in shape):
        raise UserError(
            f"--game {game.name}: has observations of shape {shape}; allowed: at most {MOST_DIMENSIONS} dimensions, "
            f"each of 1 to {LONGEST_SIDE}; reshape or shrink them in a wrapper, or choose another game"
        )
    if not LEAST_ACTIONS <= actions <= MOST_ACTIONS:
        raise UserError(
            f"--game {game.name}: the number of its actions is {actions}; allowed: {LEAST_ACTIONS} to {MOST_ACTIONS}; "
            "choose another game"
        )


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _camel(rom: str) -> str:
    return "".join(part.capitalize() for part in rom.split("_"))


def _suggestions(name: str, bare: str, atari: dict[str, str]) -> str:
    near = [_camel(atari[match]) for match in difflib.get_close_matches(_squeeze(bare), atari, n=3, cutoff=0.6)]
    near += difflib.get_close_matches(name, list(gymnasium.registry), n=2, cutoff=0.8)
    if near:
        return "did you mean " + " or ".join(dict.fromkeys(near)) + "?"
    return "allowed: the name of an Atari game such as Breakout, or a gymnasium id such as CartPole-v1"
