"""A real `headrace train` as a benchmark sees it: from outside, by its metrics and its processes' CPU time."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace_local.scrape import Metrics, fetch_metrics
from headrace_proto.errors import HeadraceError

ENV_STEPS = "headrace_learner_env_steps"
COMMAND = "command"
"""The role of `headrace train` itself, beside gate, learner and actor."""

LOOK_SECONDS = 0.5
DEADLINE_SECONDS = 600.0
STOP_SECONDS = 60.0
FOREVER = "1000000000"


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands: transitions trained, and CPU seconds used so far by role."""

    time: float
    env_steps: float
    cpu_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run at full speed."""

    begin: Moment
    end: Moment

    @property
    def steps(self) -> float:
        """Transitions trained in it."""
        return self.end.env_steps - self.begin.env_steps

    @property
    def steps_per_second(self) -> float:
        """Transitions trained a second."""
        return self.steps / (self.end.time - self.begin.time)

    def cpu_seconds_for_a_step(self, role: str) -> float:
        """CPU time that all processes of a role used for a transition."""
        return (self.end.cpu_seconds[role] - self.begin.cpu_seconds[role]) / self.steps


class Training:
    """A `headrace train` that runs; made by `started`."""

    def __init__(self, process: subprocess.Popen[bytes], run_dir: Path, output: Path) -> None:
        self.started_at = time.monotonic()
        self.run_dir = run_dir
        self._process = process
        self._output = output

    def window(self, warm_up_steps: int, steps: int) -> Window:
        """Wait until so many steps are trained, then watch so many more."""
        self.wait_until(ENV_STEPS, warm_up_steps)
        begin = self.moment()
        self.wait_until(ENV_STEPS, begin.env_steps + steps)
        return Window(begin, self.moment())

    def require_alive(self) -> None:
        """Raise HeadraceError if the run has ended."""
        if self._process.poll() is not None:
            raise HeadraceError(f"headrace train has ended:\n{self._last_words()}")

    def wait_for_end(self) -> None:
        """Return once the run has trained all its steps; raises HeadraceError if it fails."""
        if self._process.wait() != 0:
            raise HeadraceError(f"headrace train has failed:\n{self._last_words()}")

    def moment(self) -> Moment:
        """Where the run stands now."""
        return Moment(time.monotonic(), self.metrics("learner").get(ENV_STEPS, 0.0), self._cpu_seconds())

    def wait_until(self, metric: str, value: float, job: str = "learner", look_seconds: float = LOOK_SECONDS) -> None:
        """Return once a job's metric is so large; raises HeadraceError if the run ends or it takes ten minutes."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.metrics(job).get(metric, 0.0) < value:
            self.require_alive()
            if time.monotonic() > deadline:
                raise HeadraceError(f"{metric} did not reach {value:.0f} within {DEADLINE_SECONDS:.0f} s")
            time.sleep(look_seconds)

    def metrics(self, job: str) -> Metrics:
        """Samples of a job's first process; empty while it has none."""
        addresses = self._addresses(job)
        return fetch_metrics(addresses[0]) if addresses else {}

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The run's processes by role, the command's own included."""
        command = psutil.Process(self._process.pid)
        found: dict[str, list[psutil.Process]] = {COMMAND: [command]}
        for child in command.children():
            with suppress(psutil.NoSuchProcess):
                words = child.cmdline()
                roles = [word.removeprefix("headrace_") for word in words if word.startswith("headrace_")]
                found.setdefault(roles[0] if roles else "other", []).append(child)
        return found

    def _cpu_seconds(self) -> dict[str, float]:
        used: Counter[str] = Counter()
        for role, processes in self.processes().items():
            for process in processes:
                times = process.cpu_times()
                used[role] += times.user + times.system
        return dict(used)

    def _addresses(self, job: str) -> list[str]:
        try:
            groups = json.loads((self.run_dir / "targets.json").read_text())
        except FileNotFoundError:
            return []
        return [group["targets"][0] for group in groups if group["labels"]["job"] == f"headrace-{job}"]

    def _last_words(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-20:])


def add_flags(parser: argparse.ArgumentParser, default: Sequence[str] = ()) -> None:
    """What follows `--` is for `headrace train`: `of_train`."""
    parser.add_argument("of_train", nargs="*", default=list(default), help="of headrace train, after --")


@contextmanager
def started(arguments: Sequence[str], run_dir: Path | None = None) -> Iterator[Training]:
    """Run `headrace train` with these arguments until the block ends: in `run_dir`, else in a folder removed then."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        run_dir, output = run_dir or Path(folder) / "bench", Path(folder) / "output"
        place = ["--name", run_dir.name, "--runs", str(run_dir.parent)]
        command = [sys.executable, "-m", "headrace_local", "train", *place, *arguments]
        inherited = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=inherited)  # noqa: S603
        try:
            yield Training(process, run_dir, output)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # the kernel ends its children with it
        process.wait()
