"""Games by their names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from headrace_learner import run
from headrace_proto import environments
from headrace_proto.environments import Game, Spaces
from headrace_proto.errors import UserError
from headrace_proto.rollouts import max_payload_bytes
from headrace_proto.run_settings import RunSettings


class Grid(gymnasium.Env[Any, Any]):
    """A game whose observation is an array."""

    def __init__(self, **sizes: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 1, sizes["shape"], np.float32)
        self.action_space = gymnasium.spaces.Discrete(sizes["actions"])


GRIDS = {
    "Small-v0": ((4, 2), 2),
    "Narrow-v0": ((84, 35), 2),
    "Large-v0": ((36, 36), 2),
    "Huge-v0": ((2048, 2048), 2),
    "Long-v0": ((4097, 2), 2),
    "Empty-v0": ((4, 0), 2),
    "Deep-v0": ((1, 1, 1, 1, 1), 2),
    "Lone-v0": ((4,), 1),
    "Many-v0": ((4,), 1025),
}


@pytest.fixture
def grids() -> Iterator[None]:
    for name, (shape, actions) in GRIDS.items():
        gymnasium.register(name, Grid, kwargs={"shape": shape, "actions": actions})
    yield
    for name in GRIDS:
        del gymnasium.registry[name]


class Package:
    """An installed package with an entry point for environments."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.syspath_prepend(folder)

    def install(self, entry_point: str, code: str) -> None:
        (self.folder / "their_games.py").write_text(code)
        metadata = self.folder / "their_games-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-games\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[gymnasium.envs]\n{entry_point} = their_games:register\n")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    known = set(gymnasium.registry)
    environments._register_installed.cache_clear()
    yield Package(tmp_path, monkeypatch)
    environments._register_installed.cache_clear()
    sys.modules.pop("their_games", None)
    for name in set(gymnasium.registry) - known:
        del gymnasium.registry[name]


REGISTERING = """
import gymnasium
def register():
    gymnasium.register(id="Theirs-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
"""


@pytest.mark.parametrize(("entry_point", "name"), [("__root__", "Theirs-v0"), ("theirs", "theirs/Theirs-v0")])
def test_a_game_that_an_installed_package_registers_is_found(package: Package, entry_point: str, name: str) -> None:
    package.install(entry_point, REGISTERING)
    assert environments.spaces(environments.find_game(name)) == Spaces((4,), "<f4", 2)


def test_a_package_that_cannot_register_its_games_is_named(package: Package) -> None:
    package.install("__root__", "def register(): raise OSError('no display')")
    with pytest.raises(UserError, match=r"their_games:register.*no display.*repair or uninstall"):
        environments.find_game("Theirs-v0")


@pytest.mark.parametrize(
    "name",
    ["Breakout-v0", "ALE/Breakout-v5", "breakout", "Breakout", "BreakoutNoFrameskip-v4", "BreakoutDeterministic-v4"],
)
def test_every_usual_name_of_breakout_names_it(name: str) -> None:
    assert environments.find_game(name) == Game("ALE/Breakout-v5", "breakout")


@pytest.mark.parametrize("name", ["MsPacman", "ms_pacman", "MsPacman-v0", "ALE/MsPacman-v5"])
def test_names_of_two_words_are_found_either_way(name: str) -> None:
    assert environments.find_game(name) == Game("ALE/MsPacman-v5", "ms_pacman")


def test_a_gymnasium_id_names_itself() -> None:
    assert environments.find_game("CartPole-v1") == Game("CartPole-v1", None)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("Brekout", "Breakout"), ("Pnog-v0", "Pong"), ("CartPol-v1", "CartPole-v1")]
)
def test_an_unknown_name_gets_the_nearest_as_suggestions(name: str, suggestion: str) -> None:
    with pytest.raises(UserError, match=f"--game {name}: no such game; did you mean .*{suggestion}"):
        environments.find_game(name)


def test_a_name_like_no_other_is_told_what_names_look_like() -> None:
    with pytest.raises(UserError, match="allowed: the name of an Atari game such as Breakout"):
        environments.find_game("xyzzyqqq")


def test_a_module_that_is_not_installed_is_no_game() -> None:
    with pytest.raises(UserError, match="no such game"):
        environments.find_game("no_such_module:Game-v0")


def test_spaces_of_frames_and_vectors() -> None:
    assert environments.spaces(environments.find_game("breakout")) == Spaces((84, 84), "|u1", 4)
    assert environments.spaces(environments.find_game("CartPole-v1")) == Spaces((4,), "<f4", 2)


def test_a_game_with_continuous_actions_is_refused_saying_what_is_allowed() -> None:
    with pytest.raises(UserError, match="allowed: a Box observation and a Discrete action space"):
        environments.spaces(environments.find_game("Pendulum-v1"))


@pytest.mark.parametrize("name", ["LunarLander-v3", "Ant-v5", "GymV21Environment-v0", "phys2d/CartPole-v1"])
def test_a_game_whose_package_is_not_installed_is_refused_in_one_line_with_what_it_lacks(name: str) -> None:
    with pytest.raises(UserError, match=f"--game {name}: cannot be made here: .*; install what it needs") as raised:
        environments.spaces(environments.find_game(name))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("grids")
@pytest.mark.parametrize(("game", "network"), [("Small-v0", "mlp"), ("Narrow-v0", "mlp"), ("Large-v0", "dqn-2013")])
def test_pictures_too_small_for_convolutions_get_the_network_for_vectors(game: str, network: str) -> None:
    assert run.specify(RunSettings(game=game)).network == network


@pytest.mark.usefixtures("grids")
@pytest.mark.parametrize(
    ("game", "line"),
    [
        ("Long-v0", r"observations of shape \(4097, 2\); allowed: at most 4 dimensions, each of 1 to 4096; reshape"),
        ("Empty-v0", r"observations of shape \(4, 0\); allowed: at most 4 dimensions, each of 1 to 4096"),
        ("Deep-v0", r"observations of shape \(1, 1, 1, 1, 1\); allowed: at most 4 dimensions"),
        ("Lone-v0", r"the number of its actions is 1; allowed: 2 to 1024; choose another game"),
        ("Many-v0", r"the number of its actions is 1025; allowed: 2 to 1024"),
    ],
)
def test_a_game_beyond_what_actors_can_be_told_is_refused_in_one_line(game: str, line: str) -> None:
    with pytest.raises(UserError, match=f"^--game {game}: .*{line}"):
        environments.spaces(environments.find_game(game))


@pytest.mark.usefixtures("grids")
@pytest.mark.parametrize(
    ("game", "length", "line"),
    [
        ("Huge-v0", 4, r"--rollout-length 4: each transition takes 16777232 bytes.*; allowed here: at most 2$"),
        ("Huge-v0", 2, r"--game Huge-v0: the weights of its network take \d+ bytes.*choose a game of smaller"),
    ],
)
def test_what_would_be_larger_than_a_message_is_refused_before_anything_is_sent(
    game: str, length: int, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        run.specify(RunSettings(game=game, rollout_length=length))


@pytest.mark.usefixtures("grids")
def test_the_longest_rollout_that_is_allowed_fits_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_learner.run.MAX_MESSAGE_BYTES", 40_000)
    monkeypatch.setattr("headrace_learner.run._require_small_weights", lambda run: None)
    with pytest.raises(UserError, match=r"allowed here: at most (\d+)$") as refused:
        run.specify(RunSettings(game="Large-v0", rollout_length=256))
    longest = int(str(refused.value).rpartition(" ")[2])
    allowed = run.specify(RunSettings(game="Large-v0", rollout_length=longest))
    longer = allowed.model_copy(update={"rollout_length": longest + 1})
    assert max_payload_bytes(allowed) <= 40_000 < max_payload_bytes(longer)
