"""Games by their names."""

from __future__ import annotations

import pytest

from headrace_proto import environments
from headrace_proto.environments import Game, Spaces
from headrace_proto.errors import UserError


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
