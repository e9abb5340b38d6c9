"""Which checkpoint of a run that goes on is given to who follows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import structlog
import torch
from made_up import a_checkpoint_state

from headrace_learner import checkpoint_store, checkpoints
from headrace_learner.checkpoints import MODEL_FILE
from headrace_learner.following import Follower


def save(run_dir: Path, env_steps: int) -> Path:
    state = a_checkpoint_state(env_steps)
    folder = checkpoint_store.folder_of(run_dir, env_steps)
    return checkpoints.write(folder, state, {"online/x": torch.tensor([float(env_steps)])}).path


def given(follower: Follower) -> int | None:
    checkpoint = follower.newer()
    return None if checkpoint is None else checkpoint.state.env_steps


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower(tmp_path / "run", structlog.get_logger())


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_where_there_is_no_run_yet_there_is_nothing_to_give(follower: Follower, run_dir: Path) -> None:
    assert (given(follower), follower.waiting_for) == (None, "a checkpoint")
    save(run_dir, 8)
    assert (given(follower), follower.waiting_for) == (8, "a newer checkpoint")


def test_each_newest_checkpoint_is_given_once_and_those_in_between_are_skipped(
    follower: Follower, run_dir: Path
) -> None:
    save(run_dir, 8)
    assert [given(follower), given(follower)] == [8, None]
    for env_steps in (16, 24, 32):
        save(run_dir, env_steps)
    assert [given(follower), given(follower)] == [32, None]


def test_deleting_old_checkpoints_gives_the_newest_no_second_time(follower: Follower, run_dir: Path) -> None:
    first = save(run_dir, 8)
    save(run_dir, 16)
    assert given(follower) == 16
    shutil.rmtree(first)
    assert given(follower) is None


def test_a_damaged_one_is_said_once_and_the_one_before_it_given(
    follower: Follower, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run_dir, 8)
    (save(run_dir, 16) / MODEL_FILE).write_bytes(b"cut")
    assert [given(follower), given(follower), given(follower)] == [8, None, None]
    assert capsys.readouterr().out.count("cannot use the checkpoint") == 1
    save(run_dir, 16)
    assert given(follower) == 16


def test_a_run_that_went_back_to_an_earlier_checkpoint_is_followed_back(follower: Follower, run_dir: Path) -> None:
    save(run_dir, 8)
    save(run_dir, 16)
    assert given(follower) == 16
    checkpoint_store.set_aside_after(run_dir, 8)
    assert given(follower) == 8
    save(run_dir, 16)
    assert given(follower) == 16


def test_a_run_that_was_deleted_is_waited_for(follower: Follower, run_dir: Path) -> None:
    save(run_dir, 8)
    assert given(follower) == 8
    shutil.rmtree(run_dir)
    assert (given(follower), follower.waiting_for) == (None, "a checkpoint")
    save(run_dir, 8)
    assert given(follower) == 8


def test_what_could_not_be_used_is_given_again(follower: Follower, run_dir: Path) -> None:
    save(run_dir, 8)
    assert given(follower) == 8
    follower.give_again()
    assert [given(follower), given(follower)] == [8, None]
