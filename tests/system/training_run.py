"""A real `headrace train` in a process of its own, watched from outside: its lines, its metrics, its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until

from headrace_proto.run_label import RUN_LABEL

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class TrainingRun:
    """`headrace train` with arguments, in `folder/runs/run`; killed if it still runs at the end of the test."""

    def __init__(self, folder: Path, *arguments: str, name: str = "run", **environment: str) -> None:
        self.run_dir = folder / "runs" / name
        self._output = (folder / f"{name}-output.jsonl").open("a+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace_local", "train", "--name", name, *arguments],
            cwd=folder,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if error is not None:
            print("\n".join(self.lines()[-60:]))
            for log in sorted((self.run_dir / "logs").glob("*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-15:]))
        self._output.close()

    def lines(self) -> list[str]:
        return Path(self._output.name).read_text().splitlines()

    def events(self, kind: str) -> list[dict[str, Any]]:
        parsed = [json.loads(line) for line in self.lines() if line.startswith("{") and line.endswith("}")]
        return [event for event in parsed if event["event"] == kind]

    def pid(self, process: str) -> int:
        """Process id of the newest process of that name."""
        started = [event for event in self.events("started") + self.events("restarted") if event["process"] == process]
        return int(max(started, key=lambda event: event["timestamp"])["pid"])

    def signal(self, process: str, number: signal.Signals) -> None:
        os.kill(self.pid(process), number)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float = 120) -> int:
        return self._process.wait(seconds)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def targets(self, job: str) -> list[str]:
        try:
            groups = json.loads((self.run_dir / "targets.json").read_text())
        except FileNotFoundError:
            return []
        return [group["targets"][0] for group in groups if group["labels"]["job"] == f"headrace-{job}"]

    def samples(self, job: str) -> list[Samples]:
        """One scrape of every process of a job that answers."""
        return [samples for target in self.targets(job) if (samples := scrape(target)) is not None]

    def value(self, job: str, name: str, **labels: str) -> float:
        """A sample of a job's single process; NaN if it does not answer."""
        scraped = self.samples(job)
        key = (f"headrace_{name}", tuple(sorted(labels.items())))
        return scraped[0].get(key, float("nan")) if scraped else float("nan")

    def total(self, job: str, name: str) -> float:
        """A sample summed over all processes and labels of a job."""
        return sum(
            value
            for samples in self.samples(job)
            for (sample, _), value in samples.items()
            if sample == f"headrace_{name}"
        )

    def wait_for_steps(self, steps: float, seconds: float = 120) -> None:
        """Until the learner has trained so many env_steps."""

        def reached() -> bool:
            assert self.is_running, "the run ended:\n" + "\n".join(self.lines()[-20:])
            return self.value("learner", "learner_env_steps") >= steps

        wait_until(reached, seconds)


def scrape(target: str) -> Samples | None:
    try:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=5) as response:
            text = response.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    for sample in samples:
        sample.labels.pop(RUN_LABEL, None)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def fetch(target: str, path: str) -> tuple[int, str]:
    """Status and body of an HTTP request."""
    try:
        with urllib.request.urlopen(f"http://{target}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def account(run: TrainingRun) -> dict[str, float]:
    """The gate's account in one scrape."""
    (samples,) = run.samples("gate")
    account: dict[str, float] = {}
    for (name, _), value in samples.items():
        short = name.removeprefix("headrace_gate_").removesuffix("_transitions_total").removesuffix("_transitions")
        account[short] = account.get(short, 0.0) + value
    return account


def assert_account_closes(run: TrainingRun) -> None:
    books = account(run)
    settled = books["returned"] + books["trained"] + books["rejected"] + books["lost"]

    assert books["promised"] == settled + books["alive"], books
    assert books["alive"] <= books["capacity"], books
