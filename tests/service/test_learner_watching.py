"""`headrace evaluate` and `headrace play` on real games, with an untrained network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
import structlog
import torch
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from headrace_learner import checkpoint_policy, checkpoint_store, evaluation, playing, run, single_environment
from headrace_learner.checkpoints import Checkpoint
from headrace_learner.saving import Saver
from headrace_learner.screens import Window
from headrace_learner.training import Learner
from headrace_proto import environments
from headrace_proto.dense import Dense
from headrace_proto.errors import UserError
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import LearnerSettings


def a_checkpoint(run_dir: Path, game: str) -> Checkpoint:
    # Games are cut at 400 frames to keep the tests short.
    settings = LearnerSettings(game=game, run_dir=run_dir, network=None, max_episode_frames=400)
    specification = run.specify(settings)
    learner = Learner(settings, specification, torch.device("cpu"))
    names = environments.action_names(environments.find_game(game))
    metrics = LearnerMetrics(CollectorRegistry())
    Saver(settings, specification, names, metrics, structlog.get_logger()).save_first(learner)
    checkpoint = checkpoint_store.latest(run_dir, print)
    assert checkpoint is not None
    return checkpoint


@pytest.mark.parametrize(("game", "frame_skip"), [("Breakout", 4), ("Pong", 3), ("Breakout", 1)])
def test_play_sees_exactly_what_the_vector_environment_shows(game: str, frame_skip: int) -> None:
    specification = run.specify(RunSettings(game=game, frame_skip=frame_skip, noop_max=0))
    # With no-op starts or sticky actions the two draw from different generators, and the games differ.
    random = np.random.default_rng(0)
    with (
        closing(environments.make_vector(specification, 1)) as vector,
        closing(single_environment.make(specification, lambda frame: None)) as single,
    ):
        expected, _ = vector.reset(seed=3)
        state, _ = single.reset(seed=3)
        np.testing.assert_array_equal(state, expected[0])
        for _ in range(120):
            action = int(random.integers(specification.actions))
            expected, rewards, *_ = vector.step(np.array([action]))
            state, reward, *_ = single.step(action)
            np.testing.assert_array_equal(state, expected[0])
            assert reward == rewards[0]


def test_evaluate_prints_the_scores_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_checkpoint(tmp_path / "one", "CartPole-v1")
    capsys.readouterr()  # what was logged while the checkpoint was made
    evaluation.main(["--runs", str(tmp_path), "--episodes", "11", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["game"] == "CartPole-v1"
    assert len(result["scores"]) == result["episodes"] == 11
    assert result["minimum"] <= result["median"] <= result["maximum"]
    assert result["mean"] == pytest.approx(np.mean(result["scores"]))
    assert result["standard_deviation"] == pytest.approx(np.std(result["scores"], ddof=1))


def test_evaluate_of_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    checkpoint = a_checkpoint(tmp_path, "CartPole-v1")
    first = evaluation.evaluate(checkpoint, 9, 0.05, seed=4)
    assert evaluation.evaluate(checkpoint, 9, 0.05, seed=4) == first


def test_evaluate_plays_atari_and_tells_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = a_checkpoint(tmp_path, "Breakout")
    evaluation.main(["--checkpoint", str(checkpoint.path), "--episodes", "2"])
    assert "ALE/Breakout-v5" in capsys.readouterr().out


@pytest.mark.parametrize("game", ["Breakout", "CartPole-v1"])
def test_play_records_every_frame_of_the_game_without_a_display(
    tmp_path: Path, game: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    a_checkpoint(tmp_path / "run", game)
    video = tmp_path / "out.mp4"
    playing.main(["--runs", str(tmp_path), "--record", str(video), "--game", game])
    assert "game 1: score" in capsys.readouterr().out
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == single_environment.frames_per_second(run.specify(RunSettings(game=game)))
    assert len(pictures) > 5
    assert any((picture != pictures[0]).any() for picture in pictures)
    if game == "Breakout":
        assert pictures[0].shape == (210, 160, 3)


def test_a_window_shows_the_game(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    a_checkpoint(tmp_path / "run", "CartPole-v1")
    playing.main(["--runs", str(tmp_path), "--epsilon", "1"])
    assert "game 1: score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--game", "Pong"], r"that is ALE/Pong-v5, and the checkpoint .* is of CartPole-v1"),
        (["--name", "on"], "did you mean one"),
        (["--name", "xyz"], "there are: one"),
        (["--checkpoint", "777777"], "there are: 0"),
        (["--checkpoint", "nowhere"], "no such path"),
        (["--episodes", "0"], "--episodes 0"),
    ],
)
def test_a_persons_mistake_says_what_is_allowed(tmp_path: Path, arguments: list[str], message: str) -> None:
    a_checkpoint(tmp_path / "one", "CartPole-v1")
    with pytest.raises(UserError, match=message):
        evaluation.main(["--runs", str(tmp_path), *arguments])


@pytest.mark.parametrize("command", [evaluation.main, playing.main])
def test_a_checkpoint_that_a_training_deletes_before_it_is_loaded_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[Sequence[str]], None]
) -> None:
    checkpoint = a_checkpoint(tmp_path / "one", "CartPole-v1")
    load = Checkpoint.tensors

    def deleted_meanwhile(chosen: Checkpoint) -> dict[str, torch.Tensor]:
        shutil.rmtree(checkpoint.path)
        return load(chosen)

    monkeypatch.setattr(Checkpoint, "tensors", deleted_meanwhile)
    with pytest.raises(
        UserError, match=r"step-000000000 can be read no more: .*; a training deletes its older"
    ) as told:
        command(["--runs", str(tmp_path)])
    assert "\n" not in str(told.value)


def test_several_games_are_played_with_one_reading_of_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    checkpoint = a_checkpoint(tmp_path / "one", "CartPole-v1")
    show = Window.show

    def deleted_meanwhile(window: Window, frame: NDArray[np.uint8]) -> None:
        shutil.rmtree(checkpoint.path, ignore_errors=True)
        show(window, frame)

    monkeypatch.setattr(Window, "show", deleted_meanwhile)
    playing.main(["--runs", str(tmp_path), "--episodes", "2"])
    assert "game 2: score" in capsys.readouterr().out


def test_the_hidden_layer_of_a_checkpoint_is_played_as_actors_play_it_with_packed_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = a_checkpoint(tmp_path, "Breakout")
    states = np.zeros((8, 4, 84, 84), np.uint8)
    packed: list[int] = []
    pack = Dense._packed_weight

    def counted(layer: Dense, rows: torch.Tensor) -> torch.Tensor:
        packed.append(len(rows))
        return pack(layer, rows)

    monkeypatch.setattr(Dense, "_packed_weight", counted)
    checkpoint_policy.read(checkpoint, 0.0, seed=1).actions(states)
    assert packed == [8]


def test_a_video_that_cannot_be_written_is_a_persons_mistake(tmp_path: Path) -> None:
    a_checkpoint(tmp_path / "run", "CartPole-v1")
    for path, message in ((tmp_path / "out.gif", "ends in"), (tmp_path / "no" / "out.mp4", "cannot write")):
        with pytest.raises(UserError, match=message):
            playing.main(["--runs", str(tmp_path), "--record", str(path)])


def test_without_runs_there_is_nothing_to_play(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run there has checkpoints"):
        evaluation.main(["--runs", str(tmp_path)])
