"""One service as a child process: what to run, its log, its signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headrace_local import tether

Role = Literal["gate", "learner", "actor"]


@dataclass(frozen=True, slots=True)
class ProcessSpecification:
    """A process to keep running.

    `niceness` is how much it gives way to the others (nice(1)): 0 is as the parent, 19 the most.
    `restart_environment` is added to `environment` from the second start on.
    """

    name: str
    role: Role
    command: tuple[str, ...]
    log: Path
    address_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restart_environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0


class ChildProcess:
    """A running process in a session of its own, tied to this one's life, writing to its log."""

    def __init__(self, specification: ProcessSpecification, is_restart: bool = False) -> None:
        """Start it; the thread that calls must live on, since the kernel ties the child to that thread."""
        self.specification = specification
        self.started_at = time.monotonic()
        specification.address_file.unlink(missing_ok=True)
        specification.log.parent.mkdir(parents=True, exist_ok=True)
        tied = (sys.executable, tether.__file__, str(os.getpid()), str(specification.niceness))
        with specification.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 the command is our own
                [*tied, *specification.command],
                env=_environment(specification, is_restart),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._is_told = False

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end, once: a service takes the second signal as an order to drop everything."""
        if not self._is_told:
            self._is_told = True
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started, at once; returns when it is gone."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def last_lines(self, count: int = 10) -> list[str]:
        """The end of what it wrote since it started."""
        with self.specification.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, log.tell() - 65_536))
            return log.read().decode(errors="replace").splitlines()[-count:]

    def error_line(self) -> str:
        """What it said of its end: its last line that starts with `error: `, without that; else its last line."""
        lines = self.last_lines(50)
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["it said nothing"])[-1]


def describe_status(status: int) -> str:
    """How a process ended, for a person: "exit status 1", "killed by SIGKILL"."""
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _environment(specification: ProcessSpecification, is_restart: bool) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    again = specification.restart_environment if is_restart else {}
    return {**inherited, **specification.environment, **again}
