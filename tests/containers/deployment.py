"""Headrace as compose runs it, from a clean clone with a `.env` of its own, watched from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace_local.ports import free_ports

ROOT = Path(__file__).parents[2]
IMAGE_TAG = "test"
COMMAND_SECONDS = 900.0

Model = dict[str, Any]


def clean_clone(folder: Path) -> Path:
    """What git has of the working tree, and no more: no virtual environment, no `.env`."""
    names = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run(command: Sequence[str], folder: Path, statuses: Collection[int] = (0,), /, **environment: str) -> str:
    """Standard output of a command; fails with what it said unless it ends with one of these statuses."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode in statuses, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Deployment:
    """One compose project; `project` is its name."""

    def __init__(self, clone: Path, project: str, settings: Mapping[str, str | int]) -> None:
        self._clone = clone
        self.project = project
        self._prometheus_port, grafana_port = free_ports(2)
        chosen = {"PROMETHEUS_PORT": self._prometheus_port, "GRAFANA_PORT": grafana_port, **settings}
        (clone / ".env").write_text("".join(f"{name}={value}\n" for name, value in chosen.items()))

    def compose(self, *arguments: str, statuses: Collection[int] = (0,)) -> str:
        """Standard output of `docker compose` with these arguments; fails unless it ends with one of these statuses."""
        command = ["docker", "compose", "--project-name", self.project, "--ansi", "never", *arguments]
        return run(command, self._clone, statuses, IMAGE_TAG=IMAGE_TAG)

    def up(self, *services: str, **replicas: int) -> None:
        """Start services and wait until they are healthy: `up("actor", "learner", actor=16)`."""
        scale = [word for service, count in replicas.items() for word in ("--scale", f"{service}={count}")]
        self.compose("up", "--detach", "--wait", "--no-build", *scale, *services)

    def down(self) -> None:
        """Remove everything, the volumes too."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20")

    def containers(self, service: str) -> list[Model]:
        """What `docker inspect` says of each of a service's containers, ended ones too."""
        identifiers = self.compose("--profile", "*", "ps", "--all", "--quiet", service).split()
        inspected: list[Model] = (
            json.loads(run(["docker", "inspect", *identifiers], self._clone)) if identifiers else []
        )
        return inspected

    def logs(self, *services: str, tail: int = 40) -> str:
        """The last lines of the services, or of all."""
        return self.compose("--profile", "*", "logs", "--tail", str(tail), *services)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What Prometheus answers: labels and value of each series."""
        query = urllib.parse.urlencode({"query": expression})
        address = f"http://127.0.0.1:{self._prometheus_port}/api/v1/query?{query}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            body = json.load(answer)
        return [(series["metric"], float(series["value"][1])) for series in body["data"]["result"]]

    def value(self, expression: str) -> float:
        """Sum of the values that Prometheus answers with; 0 if there is none."""
        return sum(value for _, value in self.query(expression))
