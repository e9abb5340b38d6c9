"""The `headrace` command as a person meets it: a run's folder, its metrics and health, evaluation, video, mistakes."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import av
import pytest
from system.training_run import TrainingRun, fetch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from waiting import wait_until

BREAKOUT = ("--game", "Breakout-v0", "--processes", "2", "--network", "dqn-2013", "--environments-per-actor", "2")


def headrace(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace_local", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A short run of Breakout over TCP that has ended."""
    folder = tmp_path_factory.mktemp("finished")
    with TrainingRun(folder, *BREAKOUT, "--steps", "3000", "--transport", "tcp") as run:
        assert run.wait(170) == 0
    return run


def test_a_run_leaves_settings_versions_checkpoints_events_and_curves(finished: TrainingRun) -> None:
    folder = finished.run_dir

    settings = json.loads((folder / "settings.json").read_text())
    assert settings["settings"]["network"] == "dqn-2013"
    assert settings["versions"]["torch"].startswith("2.")
    asked_for = json.loads((folder / "train.json").read_text())["settings"]
    assert (asked_for["actors"], asked_for["capacity"], asked_for["transport"]) == (2, 256, "tcp")
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert int(rows[-1]["env_steps"]) >= 3_000
    assert int(rows[-1]["frames"]) == 4 * int(rows[-1]["env_steps"])
    events = EventAccumulator(str(folder)).Reload()
    assert {"charts/SPS", "charts/learning_rate", "losses/td_loss", "losses/q_values"} <= set(events.Tags()["scalars"])
    state = json.loads((max((folder / "checkpoints").glob("step-*")) / "state.json").read_text())
    assert state["run"]["game"] == "ALE/Breakout-v5"
    assert state["action_names"] == ["NOOP", "FIRE", "RIGHT", "LEFT"]


def test_evaluate_prints_the_scores_of_whole_games_as_json(finished: TrainingRun) -> None:
    result = headrace(finished.run_dir.parents[1], "evaluate", "--checkpoint", "latest", "--episodes", "3", "--json")

    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert len(scores["scores"]) == 3
    assert scores["minimum"] <= scores["median"] <= scores["maximum"]
    assert scores["epsilon"] == 0.05


def test_a_finished_run_is_not_resumed_without_more_steps(finished: TrainingRun) -> None:
    result = headrace(finished.run_dir.parents[1], "train", "--resume", "latest")

    assert result.returncode == 2
    assert "give a larger number to go on" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_play_without_a_display_says_what_to_do(finished: TrainingRun) -> None:
    nowhere = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "XDG_RUNTIME_DIR": ""}

    result = headrace(finished.run_dir.parents[1], "play", **nowhere)

    assert result.returncode == 2
    assert "use --record FILE.mp4 on a machine with no display" in result.stderr


def test_play_records_a_video_without_a_display(finished: TrainingRun, tmp_path: Path) -> None:
    video = tmp_path / "game.mp4"

    result = headrace(finished.run_dir.parents[1], "play", "--game", "breakout", "--record", str(video), DISPLAY="")

    assert result.returncode == 0, result.stderr
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) > 50
    assert frames[0].shape[2] == 3
    assert any((frame != frames[0]).any() for frame in frames)


def test_a_checkpoint_of_another_game_is_refused_naming_both(finished: TrainingRun) -> None:
    result = headrace(finished.run_dir.parents[1], "evaluate", "--game", "Pong", "--checkpoint", "latest")

    assert result.returncode == 2
    assert "Pong" in result.stderr
    assert "Breakout" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.timeout(300)
def test_a_run_whose_output_nobody_reads_any_more_goes_on_to_its_end(tmp_path: Path) -> None:
    arguments = ["--game", "CartPole-v1", "--actors", "2", "--steps", "3000", "--name", "run"]
    with subprocess.Popen(
        [sys.executable, "-m", "headrace_local", "train", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(170) == 0, process.stderr.read()
        assert process.stderr.read() == ""

    newest = max((tmp_path / "runs" / "run" / "checkpoints").glob("step-*"))
    assert json.loads((newest / "state.json").read_text())["finished"] is True


@pytest.mark.timeout(300)
def test_every_service_answers_metrics_health_and_readiness_and_nothing_else(tmp_path: Path) -> None:
    with TrainingRun(tmp_path, *BREAKOUT, "--steps", "100000000") as run:
        run.wait_for_steps(100)
        for job, names in METRICS.items():
            for target in run.targets(job):
                status, text = fetch(target, "/metrics")
                assert status == 200
                assert [name for name in names if f"headrace_{name}" not in text] == []
                assert fetch(target, "/healthz")[0] == 200
                wait_until(lambda target=target: fetch(target, "/readyz")[0] == 200)  # type: ignore[misc]
                assert fetch(target, "/anything")[0] == 404
                samples = [line for line in fetch(target, "/metrics")[1].splitlines() if not line.startswith("#")]
                assert [line for line in samples if 'run="run"' not in line] == []
        assert run.value("learner", "learner_policy_lag_bound_updates") == 69
        assert run.total("actor", "actor_inference_seconds_count") > 0
        run.interrupt()
        assert run.wait() == 0


METRICS = {
    "actor": [
        "actor_env_steps_total",
        "actor_frames_total",
        "actor_episodes_total",
        "actor_episode_return_bucket",
        "actor_blocked_seconds_total",
        "actor_weights_version",
        "actor_inference_seconds_bucket",
    ],
    "gate": [
        "gate_capacity_transitions",
        "gate_alive_transitions",
        "gate_queued_transitions",
        "gate_granted_transitions",
        "gate_accepted_transitions_total",
        "gate_delivered_transitions_total",
        "gate_trained_transitions_total",
        'gate_rejected_transitions_total{reason="malformed"',
        'gate_lost_transitions_total{cause="actor_gone"',
        "gate_actors",
        "gate_queue_wait_seconds_bucket",
        "gate_received_bytes_total",
        "gate_sent_bytes_total",
    ],
    "learner": [
        "learner_updates_total",
        "learner_transitions_total",
        "learner_policy_lag_updates_bucket",
        "learner_policy_lag_bound_updates",
        "learner_loss",
        "learner_q_value_mean",
        "learner_gradient_norm",
        "learner_learning_rate",
        "learner_weights_version",
        "learner_batch_wait_seconds_total",
        "learner_checkpoint_timestamp_seconds",
        "learner_episode_return_mean",
        "learner_published_bytes_total",
        "learner_non_finite_stops_total",
    ],
}
"""Names that dashboards and alerts of others stand on."""


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["--game", "brekout"], {}, "--game brekout: no such game; did you mean Breakout?"),
        (["--n-step", "0"], {}, "--n-step 0: must be greater than or equal to 1"),
        (["--capacity", "80"], {}, "--capacity 80: can deadlock; allowed: at least 191"),
        ([], {"HEADRACE_NSTEP": "3"}, "HEADRACE_NSTEP=3: no such setting; did you mean HEADRACE_N_STEP?"),
        (["--nstep", "3"], {}, "--nstep: no such setting; did you mean --n-step?"),
        (["--resume", "nowhere"], {}, "--resume nowhere"),
        (["--loss", "cubic"], {}, "--loss cubic: must be 'huber' or 'squared'"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    arguments: list[str], environment: dict[str, str], expected: str, tmp_path: Path
) -> None:
    result = headrace(tmp_path, "train", *arguments, **environment)

    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {expected}"), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.timeout(300)
def test_a_loss_that_is_not_finite_ends_the_run_with_status_3_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    absurd = ["--learning-rate", "1e30", "--loss", "squared", "--gradient-clip", "0", "--reward-clip", "0"]
    with TrainingRun(tmp_path, "--game", "CartPole-v1", "--actors", "2", *absurd, "--optimizer", "rmsprop") as run:
        assert run.wait() == 3

    assert "not applied" in run.lines()[-1]
    assert headrace(tmp_path, "evaluate", "--episodes", "1").returncode == 0


def test_a_port_in_use_is_one_line_that_names_the_setting(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "headrace_gate", "--metrics-port", str(port)], capture_output=True, text=True
        )

    assert result.returncode == 2
    assert result.stderr == (
        f"error: --metrics-port {port}: cannot listen on 127.0.0.1: the port is in use; choose another port, or 0 for "
        "any free one\n"
    )
