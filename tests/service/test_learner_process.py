"""The learner as a process: signals, exit status, what it leaves on disk, and going on from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import a_rollout
from small_gate import RUN, SmallGate, learner_settings, two_rollouts
from waiting import wait_until

from headrace_learner import checkpoint_store
from headrace_learner.checkpoints import CheckpointState
from headrace_proto.errors import EXIT_NON_FINITE, EXIT_STOPPED, EXIT_USER_ERROR
from headrace_proto.names import variable_name


class LearnerProcess:
    """A learner of CartPole that a test starts, kills and looks at."""

    def __init__(self, folder: Path, gate: SmallGate) -> None:
        self.folder, self.gate = folder, gate
        self.run_dir = folder / "run"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **changes: object) -> None:
        chosen = {} if arguments else learner_settings(self.folder, self.gate, **changes)
        environment = {variable_name(name): str(value) for name, value in chosen.items()}
        with (self.folder / "log").open("a") as log, (self.folder / "errors").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace_learner", *arguments],
                env={**os.environ, **environment},
                stdout=log,
                stderr=errors,
            )

    def end(self, with_signal: int | None = None) -> int:
        """Signal the process and wait for its exit status."""
        assert self.process is not None
        if with_signal is not None:
            self.process.send_signal(with_signal)
        return self.process.wait(timeout=60)

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def page(self, path: str) -> str:
        address = (self.folder / "metrics").read_text().strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def newest(self) -> CheckpointState:
        checkpoint = checkpoint_store.latest(self.run_dir, print)
        assert checkpoint is not None
        return checkpoint.state

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def learner(tmp_path: Path, gate: SmallGate) -> Iterator[LearnerProcess]:
    made = LearnerProcess(tmp_path, gate)
    yield made
    made.kill()


def test_a_loss_that_is_not_finite_stops_it_with_status_3_and_the_last_checkpoint_intact(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start(learning_rate=1e30, loss="squared", optimizer="rmsprop-keras", save_every=16)
    gate.greet()
    for seed in range(3):
        gate.send(two_rollouts(seed))
    assert learner.end() == EXIT_NON_FINITE
    assert "last good checkpoint:" in learner.errors
    assert "Traceback" not in learner.errors
    newest = learner.newest()
    assert str(checkpoint_store.folder_of(learner.run_dir, newest.env_steps)) in learner.errors


DIVERGES = {"learning_rate": 1e30, "loss": "squared", "optimizer": "rmsprop-keras", "save_every": 16}


def diverge(gate: SmallGate, learner: LearnerProcess, after: bytes | None = None) -> bytes:
    """Send batches to the learner that comes after another until its numbers are not finite; returns who it was."""
    who = gate.greet(learner=after).learner
    for seed in range(3):
        gate.send(two_rollouts(seed), learner=who)
    assert learner.end() == EXIT_NON_FINITE
    return who


def test_the_batch_that_ended_it_is_rejected_so_that_it_does_not_end_the_next_one_too(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start(**DIVERGES)
    diverge(gate, learner)

    wait_until(lambda: (heard := gate.hear()) and heard.rejected)
    told = gate.progress[-1]
    assert told.rejected == {"not_finite": 8}
    assert told.trained == 8 * (told.trained_batch - 1)


def test_stops_by_numbers_that_are_not_finite_are_counted_over_all_processes_of_the_run(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    stops = 'headrace_learner_non_finite_stops_total{run="run"}'
    learner.start(**DIVERGES)
    wait_until(gate.hear)
    assert f"{stops} 0.0" in learner.page("/metrics")
    who = diverge(gate, learner)
    for earlier in (1, 2):
        (learner.folder / "metrics").unlink()
        learner.start(**DIVERGES, resume="latest")
        wait_until((learner.folder / "metrics").exists)
        assert f"{stops} {float(earlier)}" in learner.page("/metrics")
        who = diverge(gate, learner, after=who)


def test_a_disk_that_fails_at_such_a_stop_hides_it_from_nobody(gate: SmallGate, learner: LearnerProcess) -> None:
    (learner.run_dir / "stops.json").mkdir(parents=True)
    learner.start(**DIVERGES)
    diverge(gate, learner)
    assert "last good checkpoint:" in learner.errors
    assert "Traceback" not in learner.errors
    assert "stop_not_counted" in (learner.folder / "log").read_text()


def test_a_run_goes_on_though_the_disk_fails_when_its_learner_starts(gate: SmallGate, learner: LearnerProcess) -> None:
    learner.start()
    first = gate.greet().learner
    gate.wait_for_trained(gate.send(two_rollouts()))
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED
    settings = (learner.run_dir / "settings.json").read_text()
    for file in ("settings", "metrics"):
        (learner.run_dir / f"{file}.partial").mkdir()

    learner.start(resume="latest")
    who = gate.greet(learner=first).learner
    gate.wait_for_trained(gate.send(two_rollouts(1), learner=who))
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED
    told = [json.loads(line) for line in (learner.folder / "log").read_text().splitlines()]
    assert {"settings_not_written", "curves_failed"} <= {line["event"] for line in told if line["level"] == "error"}
    assert (learner.run_dir / "settings.json").read_text() == settings
    assert learner.newest().env_steps == 16


def test_on_sigterm_it_saves_and_exits_with_a_status_that_says_that_it_was_stopped(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start()
    gate.greet()
    gate.wait_for_trained(
        gate.send([a_rollout(RUN, 5, terminated=True, episode_return=21.0, episode_length=30), a_rollout(RUN, 3)])
    )
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED
    state = learner.newest()
    assert (state.env_steps, state.updates, state.episodes, state.finished) == (8, 1, 1, False)
    assert state.recent_returns == [21.0]
    rows = (learner.run_dir / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("time,env_steps,frames,updates,episodes,return_mean_100")
    assert rows[-1].split(",")[1:6] == ["8", "8", "1", "1", "21"]
    assert list(learner.run_dir.glob("events.out.tfevents.*"))
    settings = json.loads((learner.run_dir / "settings.json").read_text())
    assert settings["settings"]["batch_size"] == 8
    assert settings["settings"]["learning_rate_decay_steps"] == 10_000  # what was left open, as it was decided
    assert "torch" in settings["versions"]


def test_sigterm_before_any_gate_ends_it_having_said_what_it_waits_for(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start()
    wait_until(gate.hear)
    assert learner.page("/healthz") == "waiting for gate\n"
    with pytest.raises(urllib.error.HTTPError, match="503") as refusal:
        learner.page("/readyz")
    refusal.value.close()
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED


def test_the_status_of_a_stop_can_be_chosen_and_a_resumed_run_does_not_inherit_the_choice(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start(stopped_exit_status=0)
    wait_until(gate.hear)
    assert learner.end(signal.SIGTERM) == 0
    assert learner.newest().settings["stopped_exit_status"] == 0
    learner.start(resume="latest")
    heard = gate.progress[-1].learner
    wait_until(lambda: (progress := gate.hear()) and progress.learner != heard)
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED


def test_killed_and_resumed_it_goes_on_with_its_counters_and_the_gates_version(
    gate: SmallGate, learner: LearnerProcess
) -> None:
    learner.start(save_every=16)
    gate.greet()
    for seed in range(3):
        number = gate.send(two_rollouts(seed))
    killed = gate.wait_for_trained(number)
    learner.end(signal.SIGKILL)
    assert killed.env_steps == 24
    half_saved = learner.run_dir / "checkpoints" / ".step-000000024.partial"
    half_saved.mkdir()
    learner.start(save_every=16, resume="auto")
    progress = gate.greet(learner=killed.learner, generation=2, version=killed.version)
    assert (progress.env_steps, progress.version, progress.trained) == (16, 3, 0)
    progress = gate.wait_for_trained(gate.send(two_rollouts(9), generation=2))
    assert (progress.env_steps, progress.version) == (24, 4)
    assert learner.end(signal.SIGTERM) == EXIT_STOPPED
    assert (learner.newest().env_steps, learner.newest().updates) == (24, 3)
    assert not half_saved.exists()


def test_at_its_last_step_it_saves_says_so_and_exits_0(gate: SmallGate, learner: LearnerProcess) -> None:
    learner.start(steps=16)
    gate.greet()
    for seed in range(2):
        gate.send(two_rollouts(seed))
    wait_until(lambda: (heard := gate.hear()) and heard.finished)
    assert learner.end() == 0
    assert learner.newest().finished
    assert learner.newest().env_steps == 16


def test_a_resumed_run_keeps_its_settings_where_none_are_given(gate: SmallGate, learner: LearnerProcess) -> None:
    learner.start()
    wait_until(gate.hear)
    learner.end(signal.SIGTERM)
    learner.start(
        *("--run-dir", str(learner.run_dir), "--resume", "latest", "--metrics-port", "0"),
        *("--weights-bind", gate.weights_address, "--batches-address", gate.batches_address),
    )
    heard = gate.progress[-1].learner
    wait_until(lambda: (progress := gate.hear()) and progress.learner != heard)
    assert gate.progress[-1].run == RUN


def test_what_is_asked_for_and_does_nothing_is_refused_before_anything_starts(learner: LearnerProcess) -> None:
    learner.start(traces="retrace")
    assert learner.end() == EXIT_USER_ERROR
    assert learner.errors.startswith("error: --traces retrace: does nothing with --algorithm nstep-q; allowed: ")
    assert not learner.run_dir.exists()


def test_a_persons_mistake_is_one_line_and_status_2(learner: LearnerProcess) -> None:
    learner.start(game="CartPol-v1")
    assert learner.end() == EXIT_USER_ERROR
    assert "did you mean CartPole-v1" in learner.errors
    assert learner.errors.count("\n") == 1
