"""The evaluator as a process beside a run's folder that others write."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until

from headrace_learner import checkpoint_store, evaluation, run
from headrace_learner.checkpoints import MODEL_FILE, STATE_FILE, Checkpoint, CheckpointState
from headrace_learner.saving import Saver
from headrace_learner.training import Learner
from headrace_proto import environments
from headrace_proto.errors import EXIT_USER_ERROR
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings

GAUGES = (
    *("return_mean", "return_median", "return_standard_deviation", "return_min", "return_max"),
    *("env_steps", "checkpoint_timestamp_seconds", "epsilon"),
)


def save(run_dir: Path, env_steps: int, game: str = "CartPole-v1", **changes: Any) -> Checkpoint:
    """What a learner that has trained so far leaves; Atari games are cut at 400 frames."""
    settings = LearnerSettings(game=game, run_dir=run_dir, seed=env_steps, max_episode_frames=400, **changes)
    specification = run.specify(settings, run_dir.name)
    learner = Learner(settings, specification, torch.device("cpu"))
    learner.counters.env_steps = env_steps
    names = environments.action_names(environments.find_game(game))
    Saver(settings, specification, names, LearnerMetrics(CollectorRegistry()), structlog.get_logger()).save_first(
        learner
    )
    checkpoint = checkpoint_store.latest(run_dir, print)
    assert checkpoint is not None
    return checkpoint


def damage(run_dir: Path, env_steps: int) -> None:
    model = save(run_dir, env_steps).path / MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1])


class EvaluatorProcess:
    """An evaluator that a test starts, asks and ends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir = folder, folder / "cart-1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "headrace_learner", "evaluator", "--run-dir", str(self.run_dir)]
        command += ["--metrics-port", "0", "--metrics-address-file", str(self.folder / "metrics"), *arguments]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(lambda: (self.folder / "metrics").exists() or self.status is not None)

    @property
    def status(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def page(self, path: str) -> str:
        address = (self.folder / "metrics").read_text().strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def metric(self, name: str) -> float:
        """A sample, which has the run's label and no other."""
        for family in text_string_to_metric_families(self.page("/metrics")):
            for sample in family.samples:
                if sample.name == f"headrace_evaluator_{name}":
                    assert sample.labels == {"run": "cart-1"}
                    return float(sample.value)
        raise AssertionError(f"{name} is not exported")

    def wait_for_evaluation(self, env_steps: int) -> None:
        wait_until(lambda: self.metric("env_steps") == env_steps)

    def wait_for_waiting(self, waiting_for: str) -> None:
        wait_until(lambda: self.page("/healthz") == f"waiting for {waiting_for}\n")


@pytest.fixture
def evaluator(tmp_path: Path) -> Iterator[EvaluatorProcess]:
    made = EvaluatorProcess(tmp_path)
    yield made
    if made.process is not None and made.status is None:
        made.process.kill()
        made.process.wait()


def test_before_there_is_a_checkpoint_it_is_ready_says_what_it_waits_for_and_has_no_scores(
    evaluator: EvaluatorProcess,
) -> None:
    evaluator.start()
    evaluator.wait_for_waiting("a checkpoint")
    assert evaluator.page("/readyz") == "ready\n"
    assert [name for name in GAUGES if not math.isnan(evaluator.metric(name))] == []
    assert (evaluator.metric("evaluations_total"), evaluator.metric("episodes_total")) == (0, 0)
    assert '"waiting_for": "a checkpoint"' in evaluator.log
    assert not evaluator.run_dir.exists()
    assert evaluator.end() == 0


def test_it_follows_the_newest_checkpoint_whatever_happens_to_the_folder(evaluator: EvaluatorProcess) -> None:
    evaluator.start("--episodes", "3")
    evaluator.wait_for_waiting("a checkpoint")
    for env_steps in (8, 16):
        save(evaluator.run_dir, env_steps)
        evaluator.wait_for_evaluation(env_steps)
    damage(evaluator.run_dir, 24)
    wait_until(lambda: "cannot use the checkpoint" in evaluator.log)
    evaluator.wait_for_waiting("a newer checkpoint")
    assert (evaluator.metric("env_steps"), evaluator.metric("evaluations_total")) == (16, 2)
    save(evaluator.run_dir, 32)
    evaluator.wait_for_evaluation(32)
    shutil.rmtree(evaluator.run_dir)
    evaluator.wait_for_waiting("a checkpoint")
    save(evaluator.run_dir, 40)
    evaluator.wait_for_evaluation(40)
    wait_until(lambda: evaluator.metric("evaluations_total") == 4)
    assert evaluator.metric("episodes_total") == 12
    assert evaluator.end() == 0


def test_its_scores_are_those_of_evaluate(evaluator: EvaluatorProcess) -> None:
    checkpoint = save(evaluator.run_dir, 8)
    evaluator.start("--seed", "5", "--epsilon", "0.25")
    wait_until(lambda: evaluator.metric("evaluations_total") == 1)
    scores = evaluation.evaluate(checkpoint, episodes=10, epsilon=0.25, seed=5)
    expected = evaluation.summary(checkpoint, scores, epsilon=0.25, seed=5)
    assert [evaluator.metric(name) for name in GAUGES] == [
        *(expected[name] for name in ("mean", "median", "standard_deviation", "minimum", "maximum")),
        *(8, checkpoint.state.saved_at, 0.25),
    ]


@pytest.mark.parametrize("lstm", [False, True])
def test_a_policy_is_sampled_and_nothing_random_is_mixed_in(evaluator: EvaluatorProcess, lstm: bool) -> None:
    checkpoint = save(evaluator.run_dir, 8, algorithm="a3c", lstm=lstm)
    evaluator.start("--seed", "5")
    wait_until(lambda: evaluator.metric("evaluations_total") == 1)
    scores = evaluation.evaluate(checkpoint, episodes=10, epsilon=0.0, seed=5)
    assert (evaluator.metric("epsilon"), evaluator.metric("return_mean")) == (0.0, sum(scores) / 10)
    assert len(set(scores)) > 1


def test_it_plays_atari_greedily_unless_told_otherwise(evaluator: EvaluatorProcess) -> None:
    save(evaluator.run_dir, 8, game="Breakout")
    evaluator.start("--episodes", "2")
    evaluator.wait_for_evaluation(8)
    assert evaluator.metric("epsilon") == 0


def test_started_beside_a_damaged_newest_it_warns_and_takes_the_one_before(evaluator: EvaluatorProcess) -> None:
    save(evaluator.run_dir, 8)
    damage(evaluator.run_dir, 16)
    evaluator.start("--episodes", "1")
    evaluator.wait_for_evaluation(8)
    assert "cannot use the checkpoint" in evaluator.log
    assert "cut short or damaged" in evaluator.log


def test_one_that_vanishes_while_it_is_read_is_waited_out(evaluator: EvaluatorProcess) -> None:
    # Found whole by its checksum and its header, and unreadable a moment later: as one that went in between.
    folder = save(evaluator.run_dir, 8).path
    header = json.dumps({"online/x": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
    model = len(header).to_bytes(8, "little") + header + bytes(3)
    (folder / MODEL_FILE).write_bytes(model)
    state = CheckpointState.model_validate_json((folder / STATE_FILE).read_bytes())
    changed = state.model_copy(update={"model_sha256": hashlib.sha256(model).hexdigest()})
    (folder / STATE_FILE).write_text(changed.model_dump_json())
    evaluator.start("--episodes", "1")
    wait_until(lambda: "checkpoint_gone" in evaluator.log)
    save(evaluator.run_dir, 16)
    evaluator.wait_for_evaluation(16)
    assert evaluator.log.count("checkpoint_gone") == 1


def test_sigterm_in_the_middle_of_its_games_ends_it_with_status_0(evaluator: EvaluatorProcess) -> None:
    save(evaluator.run_dir, 8)
    evaluator.start("--episodes", "1000000000")
    wait_until(lambda: evaluator.metric("episodes_total") > 0)
    assert evaluator.page("/healthz") == "ok\n"
    assert evaluator.end() == 0
    assert "evaluated" not in evaluator.log
    assert '"event": "stopped"' in evaluator.log


def test_it_writes_nothing_into_the_runs_folder(evaluator: EvaluatorProcess) -> None:
    save(evaluator.run_dir, 8)

    def contents() -> list[tuple[Path, int]]:
        paths = [evaluator.run_dir, *sorted(evaluator.run_dir.rglob("*"))]
        return [(path, path.stat().st_mtime_ns) for path in paths]

    before = contents()
    evaluator.start("--episodes", "1")
    evaluator.wait_for_evaluation(8)
    assert evaluator.end() == 0
    assert contents() == before


def test_a_checkpoint_of_other_actions_than_the_games_here_is_a_persons_mistake(evaluator: EvaluatorProcess) -> None:
    state_file = save(evaluator.run_dir, 8).path / STATE_FILE
    state = CheckpointState.model_validate_json(state_file.read_bytes())
    state_file.write_text(state.model_copy(update={"action_names": ["left", "right"]}).model_dump_json())
    evaluator.start()
    wait_until(lambda: evaluator.status is not None)
    assert evaluator.status == EXIT_USER_ERROR
    assert "has actions left, right" in evaluator.log
