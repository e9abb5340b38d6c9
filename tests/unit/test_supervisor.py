"""The supervisor with real small processes, and its pure restart policy."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import DEADLINE_SECONDS, wait_until

from headrace_local import tether
from headrace_local.interrupts import Interrupts
from headrace_local.processes import ChildProcess, ProcessSpecification, Role, describe_status
from headrace_local.restarts import Abort, Finish, Restart, RestartPolicy
from headrace_local.scrape import Picture, Scraper, Snapshot
from headrace_local.supervisor import Outcome, Supervisor
from headrace_local.targets import TargetsFile
from headrace_proto.errors import EXIT_STOPPED

SLEEP = "import time; time.sleep(600)"
READY_THEN_SLEEP = "print('ready', flush=True); import time; time.sleep(600)"

SAVES_AT_SIGTERM = """
import signal, sys, time
def save(*_):
    print("saved")
    sys.exit(4)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(600)
"""


class TestRestartPolicy:
    def test_a_process_that_dies_starts_again_with_a_pause_that_doubles_up_to_ten_seconds(self) -> None:
        policy = RestartPolicy("actor")
        pauses = [policy.after_exit(-9, at, at + 20.0) for at in range(0, 700, 100)]
        assert pauses == [Restart(seconds) for seconds in (0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0)]

    def test_thirty_seconds_of_life_reset_the_pause(self) -> None:
        policy = RestartPolicy("gate")
        for at in (0.0, 100.0, 200.0):
            policy.after_exit(1, at, at + 1)
        assert policy.after_exit(1, 300.0, 330.0) == Restart(0.5)

    @pytest.mark.parametrize("role", ["actor", "gate", "learner"])
    @pytest.mark.parametrize("status", [2, 3])
    def test_a_persons_mistake_or_a_loss_that_is_not_finite_ends_the_run_with_its_status(
        self, role: Role, status: int
    ) -> None:
        assert RestartPolicy(role).after_exit(status, 0.0, 1.0) == Abort(status)

    def test_the_fifth_death_within_a_minute_ends_the_run(self) -> None:
        policy = RestartPolicy("learner")
        decisions = [policy.after_exit(1, at, at) for at in (0.0, 15.0, 30.0, 45.0, 60.0)]
        assert all(isinstance(decision, Restart) for decision in decisions[:4])
        assert decisions[4] == Abort(1, in_crash_loop=True)

    def test_five_deaths_over_more_than_a_minute_do_not_end_the_run(self) -> None:
        policy = RestartPolicy("learner")
        decisions = [policy.after_exit(1, at, at) for at in (0.0, 15.0, 30.0, 45.0, 61.0)]
        assert all(isinstance(decision, Restart) for decision in decisions)

    def test_a_learner_that_ends_well_has_finished_the_run(self) -> None:
        assert RestartPolicy("learner").after_exit(0, 0.0, 1.0) == Finish()

    def test_a_learner_that_a_signal_stopped_starts_again_however_often_without_being_a_crash(self) -> None:
        policy = RestartPolicy("learner")
        assert {policy.after_exit(EXIT_STOPPED, at, at) for at in range(10)} == {Restart(2.0)}

    def test_an_actor_that_leaves_starts_again_however_often_without_being_a_crash(self) -> None:
        policy = RestartPolicy("actor")
        assert {policy.after_exit(0, at, at) for at in range(10)} == {Restart(2.0)}


class RecordingDisplay:
    """A display that remembers its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def event(self, kind: str, message: str, **fields: Any) -> None:
        self.events.append((kind, message, fields))

    def progress(self, snapshot: Snapshot) -> None:
        pass

    def close(self) -> None:
        pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, _, fields in self.events if name == kind]


class Run:
    """Processes under a supervisor, with what was seen of them."""

    def __init__(self, folder: Path, stop_seconds: float = 20.0) -> None:
        self.folder = folder
        self.display = RecordingDisplay()
        self.interrupts = Interrupts()
        self.stop_seconds = stop_seconds
        self.specifications: list[ProcessSpecification] = []

    def add(self, name: str, role: Role, code: str, **environment: str) -> ProcessSpecification:
        specification = ProcessSpecification(
            name=name,
            role=role,
            command=(sys.executable, "-c", textwrap.dedent(code)),
            log=self.folder / "logs" / f"{name}.log",
            address_file=self.folder / f"{name}.address",
            environment=environment,
            restart_environment={"AGAIN": "yes"},
            labels={"job": f"headrace-{role}"},
        )
        self.specifications.append(specification)
        return specification

    def supervise(self, each_turn: Callable[[], None] = lambda: None) -> Outcome:
        give_up_at = time.monotonic() + DEADLINE_SECONDS

        def turn() -> None:
            assert time.monotonic() < give_up_at, f"not over in time: {self.display.events}"
            each_turn()

        supervisor = Supervisor(self.specifications, self.display, self.interrupts, turn, self.stop_seconds)
        outcome = supervisor.run()
        pids = [event["pid"] for kind in ("started", "restarted") for event in self.display.of(kind)]
        assert not [pid for pid in pids if psutil.pid_exists(pid)], "a process was left"
        return outcome


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class TestSupervisor:
    def test_ends_the_others_when_the_learner_has_finished(self, run: Run) -> None:
        run.add("gate", "gate", SLEEP)
        run.add("learner", "learner", "print('done')")
        run.add("actor-0", "actor", SLEEP)

        assert run.supervise() == Outcome("finished")
        assert (run.folder / "logs" / "learner.log").read_text() == "done\n"

    def test_starts_a_dead_actor_again_and_says_so(self, run: Run) -> None:
        done = run.folder / "done"
        run.add(
            "actor-0",
            "actor",
            """
            import os, pathlib, signal, time
            if "AGAIN" not in os.environ:
                print("last words", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            pathlib.Path(os.environ["DONE"]).touch()
            time.sleep(600)
            """,
            DONE=str(done),
        )
        run.add("learner", "learner", _until(done))

        assert run.supervise() == Outcome("finished")
        (died,) = run.display.of("died")
        assert (died["process"], died["status"], died["log"]) == ("actor-0", -9, ["last words"])
        assert [event["process"] for event in run.display.of("restarted")] == ["actor-0"]

    def test_a_learner_that_somebody_stopped_starts_again_and_the_run_goes_on(self, run: Run) -> None:
        run.add("learner", "learner", "import os, sys; sys.exit(0 if 'AGAIN' in os.environ else 4)")

        assert run.supervise() == Outcome("finished")
        (left,) = run.display.of("left")
        assert (left["process"], left["status"], left["log"]) == ("learner", EXIT_STOPPED, [])
        assert [event["process"] for event in run.display.of("restarted")] == ["learner"]

    def test_a_persons_mistake_in_a_process_ends_the_run_with_its_line_and_status(self, run: Run) -> None:
        run.add("gate", "gate", SLEEP)
        run.add("learner", "learner", "import sys; print('error: --game Brekout: no such game'); sys.exit(2)")

        assert run.supervise() == Outcome("failed", 2, "learner: --game Brekout: no such game")

    def test_a_loss_that_is_not_finite_ends_the_run_with_status_three(self, run: Run) -> None:
        run.add("learner", "learner", "import sys; print('error: the loss is nan'); sys.exit(3)")

        assert run.supervise() == Outcome("failed", 3, "learner: the loss is nan")

    def test_a_crash_loop_ends_the_run_and_shows_the_end_of_the_log(self, run: Run) -> None:
        run.add("gate", "gate", "raise SystemExit('the disk is full')")
        run.add("learner", "learner", SLEEP)

        outcome = run.supervise()

        assert (outcome.kind, outcome.status) == ("failed", 1)
        assert "gate keeps dying (exit status 1)" in outcome.error
        assert "the disk is full" in outcome.error
        assert [event["process"] for event in run.display.of("died")] == ["gate"] * 4

    def test_the_first_signal_lets_the_learner_save_and_then_ends_the_others(self, run: Run) -> None:
        saved = run.folder / "saved"
        run.add("gate", "gate", READY_THEN_SLEEP)
        run.add(
            "learner",
            "learner",
            """
            import os, pathlib, signal, sys, time
            def save(*_):
                pathlib.Path(os.environ["SAVED"]).write_text("checkpoint")
                sys.exit(4)
            signal.signal(signal.SIGTERM, save)
            print("ready", flush=True)
            time.sleep(600)
            """,
            SAVED=str(saved),
        )

        assert run.supervise(_interrupt_when_ready(run, "gate", "learner")) == Outcome("stopped")
        assert saved.read_text() == "checkpoint"

    def test_a_second_signal_kills_at_once_and_says_that_nothing_was_saved(self, run: Run) -> None:
        run.add(
            "learner",
            "learner",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
        )
        interrupt = _interrupt_when_ready(run, "learner")
        stopping = run.display.of

        def twice() -> None:
            interrupt()
            if stopping("stopping"):
                run.interrupts.count = 2

        outcome = run.supervise(twice)

        assert (outcome.kind, outcome.status) == ("failed", 1)
        assert "stopped before it could save" in outcome.error

    def test_a_process_that_ignores_sigterm_is_killed_in_the_end(self, tmp_path: Path) -> None:
        run = Run(tmp_path, stop_seconds=0.5)
        run.add("learner", "learner", _until(tmp_path / "logs" / "ready"))
        run.add(
            "gate",
            "gate",
            """
            import os, pathlib, signal, time
            signal.signal(15, signal.SIG_IGN)
            pathlib.Path(os.environ["READY"]).touch()
            time.sleep(600)
            """,
            READY=str(tmp_path / "logs" / "ready"),
        )

        assert run.supervise() == Outcome("finished")
        assert run.display.of("killed") == [{"processes": ["gate"]}]

    @pytest.mark.parametrize("fails_at", ["running", "stopping"])
    def test_an_error_of_its_own_lets_the_learner_save_before_anything_is_killed(self, run: Run, fails_at: str) -> None:
        run.add("gate", "gate", READY_THEN_SLEEP)
        run.add("learner", "learner", SAVES_AT_SIGTERM)
        interrupt = _interrupt_when_ready(run, "gate", "learner")

        def fail() -> None:
            interrupt()
            if run.interrupts.count and (fails_at == "running" or run.display.of("stopping")):
                raise ZeroDivisionError("of the display")

        with pytest.raises(ZeroDivisionError):
            run.supervise(fail)
        assert (run.folder / "logs" / "learner.log").read_text() == "ready\nsaved\n"

    def test_a_signal_while_the_learner_is_dead_says_that_nothing_was_saved(self, run: Run) -> None:
        run.add("learner", "learner", "import sys; sys.exit(1)")

        outcome = run.supervise(_interrupt_after(run, "died"))

        assert (outcome.kind, outcome.status) == ("failed", 1)
        assert "nothing was saved now; its last checkpoint stands" in outcome.error

    def test_a_signal_while_a_learner_that_saved_is_away_ends_the_run_well(self, run: Run) -> None:
        run.add("learner", "learner", "import sys; sys.exit(4)")
        assert run.supervise(_interrupt_after(run, "left")) == Outcome("stopped")

    def test_a_targets_file_that_cannot_be_written_is_said_once_and_written_as_soon_as_it_can(
        self, tmp_path: Path
    ) -> None:
        warnings: list[str] = []
        path = tmp_path / "full" / "targets.json"
        targets = TargetsFile(path, warnings.append)
        targets.update([])
        targets.update([])
        assert warnings == [f"{path}: cannot be written: No such file or directory; tried again until it can"]

        path.parent.mkdir()
        targets.update([])
        assert json.loads(path.read_text()) == []

    def test_gathers_the_addresses_of_metrics_as_they_come_and_go(self, run: Run) -> None:
        path = run.folder / "targets.json"
        targets = TargetsFile(path)
        actor = run.add("actor-0", "actor", "")
        targets.update(run.specifications)
        assert json.loads(path.read_text()) == []

        actor.address_file.write_text("127.0.0.1:1234\n")
        targets.update(run.specifications)
        assert json.loads(path.read_text()) == [{"targets": ["127.0.0.1:1234"], "labels": {"job": "headrace-actor"}}]


class TestChildProcess:
    def test_does_not_outlive_a_parent_that_is_killed(self, tmp_path: Path) -> None:
        parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: "ready" in (tmp_path / "actor.log").read_text())

        parent.kill()
        parent.wait()
        parent.stdout.close()

        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)

    def test_does_not_start_for_a_parent_that_is_gone_already(self) -> None:
        gone = subprocess.run([sys.executable, tether.__file__, "1", "0", "true"], capture_output=True, text=True)
        assert gone.returncode == 1
        assert gone.stderr == "error: the process that started this one is gone\n"

    def test_gives_way_to_others_as_it_is_told(self, run: Run) -> None:
        gate = ChildProcess(run.add("gate", "gate", SLEEP))
        actor = ChildProcess(replace(run.add("actor-0", "actor", READY_THEN_SLEEP), niceness=5))
        wait_until(lambda: actor.last_lines() == ["ready"])

        assert psutil.Process(actor.pid).nice() == psutil.Process(gate.pid).nice() + 5
        session = Path(f"/proc/{actor.pid}/autogroup")
        assert not session.exists() or session.read_text().split()[-1] == str(psutil.Process(actor.pid).nice())
        for child in (gate, actor):
            child.kill()

    def test_gets_no_headrace_variable_but_its_own(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_STEPS", "7")
        show = "import os; print(sorted(name for name in os.environ if name.startswith('HEADRACE_')))"
        child = ChildProcess(run.add("actor-0", "actor", show, HEADRACE_GATE_ADDRESS="ipc://x"))
        wait_until(lambda: child.status is not None)
        assert child.last_lines() == ["['HEADRACE_GATE_ADDRESS']"]

    def test_is_told_to_end_once_for_a_second_signal_would_make_it_drop_everything(self, run: Run) -> None:
        child = ChildProcess(run.add("learner", "learner", _COUNTS_ITS_SIGNALS))
        wait_until(lambda: child.last_lines() == ["ready"])
        child.terminate()
        wait_until(lambda: child.last_lines() == ["ready", "told"])
        child.terminate()
        os.kill(child.pid, signal.SIGUSR1)
        wait_until(lambda: child.status is not None)
        assert child.last_lines() == ["ready", "told"]

    def test_shows_only_what_it_wrote_since_it_started(self, run: Run) -> None:
        specification = run.add("gate", "gate", "print('second')")
        specification.log.parent.mkdir()
        specification.log.write_text("first\n")
        child = ChildProcess(specification)
        wait_until(lambda: child.status is not None)
        assert child.last_lines() == ["second"]

    def test_its_end_is_described_in_words(self) -> None:
        assert describe_status(1) == "exit status 1"
        assert describe_status(-signal.SIGKILL) == "killed by SIGKILL"


class TestScraper:
    def test_metrics_that_cannot_be_read_are_said_and_read_again(self) -> None:
        fails = [True]

        def address() -> str | None:
            if fails:
                raise RuntimeError("of the parser")
            return None

        with closing(Scraper(Picture(1, 1), learner=address, gate=lambda: None)) as scraper:
            wait_until(lambda: "metrics that can be read: RuntimeError" in scraper.latest.waiting_for)
            fails.clear()
            wait_until(lambda: scraper.latest.waiting_for == "the learner")


class TestDisplay:
    def test_a_terminal_that_is_closed_ends_no_run(self) -> None:
        ours, theirs = pty.openpty()
        shown = subprocess.Popen(
            [sys.executable, "-c", _SHOWS_ON_A_TERMINAL], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, text=True
        )
        os.close(theirs)
        assert os.read(ours, 1000)
        os.close(ours)
        shown.communicate("closed\n", timeout=DEADLINE_SECONDS)
        assert shown.returncode == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_was_ignored_at_the_start_stays_ignored_as_nohup_asks(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _COUNTS_AN_IGNORED_SIGNAL, name], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_signals_are_counted() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        interrupts = Interrupts().install()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: interrupts.count == 2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_PARENT = """
import sys, pathlib, time
from headrace_local.processes import ChildProcess, ProcessSpecification
folder = pathlib.Path(sys.argv[1])
command = (sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(600)")
child = ChildProcess(ProcessSpecification("actor", "actor", command, folder / "actor.log", folder / "address"))
print(child.pid, flush=True)
time.sleep(600)
"""

_COUNTS_ITS_SIGNALS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("told", flush=True))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(4))
print("ready", flush=True)
while True:
    time.sleep(600)
"""

_COUNTS_AN_IGNORED_SIGNAL = """
import os, signal, sys
from headrace_local.interrupts import Interrupts
number = signal.Signals[sys.argv[1]]
signal.signal(number, signal.SIG_IGN)
interrupts = Interrupts().install()
os.kill(os.getpid(), number)
os.kill(os.getpid(), signal.SIGTERM)
print(interrupts.count)
"""

_SHOWS_ON_A_TERMINAL = """
import sys
from headrace_local import display
from headrace_local.scrape import Picture, Scraper, Snapshot
shown = display.for_output()
shown.event("started", "before")
sys.stdin.readline()
shown.event("started", "after")
shown.progress(Snapshot(1, 2, 3))
shown.close()
"""


def _until(path: Path) -> str:
    return f"import pathlib, time\nwhile not pathlib.Path({str(path)!r}).exists(): time.sleep(0.05)"


def _interrupt_after(run: Run, event: str) -> Callable[[], None]:
    def turn() -> None:
        run.interrupts.count = len(run.display.of(event))

    return turn


def _interrupt_when_ready(run: Run, *names: str) -> Callable[[], None]:
    def turn() -> None:
        logs = [run.folder / "logs" / f"{name}.log" for name in names]
        if not run.interrupts.count and all(log.exists() and "ready" in log.read_text() for log in logs):
            run.interrupts.count = 1

    return turn
