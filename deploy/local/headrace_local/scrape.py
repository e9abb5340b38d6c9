"""Reads the metrics of learner and gate over HTTP, as Prometheus does, and makes one picture of the run of them."""

from __future__ import annotations

import http.client
import math
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace_proto.run_label import RUN_LABEL

PERIOD_SECONDS = 1.0
RATE_WINDOW_SECONDS = 30.0
TIMEOUT_SECONDS = 1.0

Metrics = dict[str, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The quantities that a person wants to watch; None where nothing is known yet."""

    env_steps: int
    steps: int
    frames: int
    steps_per_second: float | None = None
    frames_per_second: float | None = None
    return_mean_100: float | None = None
    alive: int | None = None
    capacity: int | None = None
    policy_lag_mean: float | None = None
    policy_lag_max: int | None = None
    policy_lag_bound: int | None = None
    loss: float | None = None
    updates: int | None = None
    seconds_left: float | None = None
    actors: int | None = None
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class _Sample:
    time: float
    trained: float
    lag_sum: float
    lag_count: float


class Picture:
    """Makes snapshots of successive metrics; rates and the mean lag are of the last half minute."""

    def __init__(self, steps: int, frame_skip: int) -> None:
        self._steps = steps
        self._frame_skip = frame_skip
        self._samples: deque[_Sample] = deque()
        self._env_steps = 0
        self._learner: Metrics = {}

    def add(self, learner: Metrics, gate: Metrics, waiting_for: str, now: float) -> Snapshot:
        """The run at time `now`; metrics are empty while a process is away, and the learner's last ones then stand."""
        if learner:
            # A restarted learner shows 0 until it has read its checkpoint; the run is where it was.
            self._env_steps = int(learner.get("headrace_learner_env_steps", 0)) or self._env_steps
            self._remember(learner, now)
            self._learner = learner
        learner = self._learner
        trained = learner if learner.get("headrace_learner_updates_total") else {}
        rate = self._rate()
        return Snapshot(
            env_steps=self._env_steps,
            steps=self._steps,
            frames=self._env_steps * self._frame_skip,
            steps_per_second=rate,
            frames_per_second=None if rate is None else rate * self._frame_skip,
            return_mean_100=_known(learner, "headrace_learner_episode_return_mean"),
            alive=_whole(gate, "headrace_gate_alive_transitions"),
            capacity=_whole(gate, "headrace_gate_capacity_transitions"),
            policy_lag_mean=self._lag_mean(),
            policy_lag_max=_whole(trained, "headrace_learner_policy_lag_max_updates"),
            policy_lag_bound=_whole(learner, "headrace_learner_policy_lag_bound_updates") or None,
            loss=_known(trained, "headrace_learner_loss"),
            updates=_whole(learner, "headrace_learner_run_updates"),
            seconds_left=max(0, self._steps - self._env_steps) / rate if rate else None,
            actors=_whole(gate, "headrace_gate_actors"),
            waiting_for=waiting_for,
        )

    def _remember(self, learner: Metrics, now: float) -> None:
        lag = "headrace_learner_policy_lag_updates"
        trained = learner.get("headrace_learner_transitions_total", 0.0)
        sample = _Sample(now, trained, learner.get(f"{lag}_sum", 0.0), learner.get(f"{lag}_count", 0.0))
        if not trained or (self._samples and trained < self._samples[-1].trained):
            self._samples.clear()  # a learner that has not begun, or another one, which counts anew
        self._samples.append(sample)
        while now - self._samples[0].time > RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def _rate(self) -> float | None:
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        return (last.trained - first.trained) / (last.time - first.time)

    def _lag_mean(self) -> float | None:
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        count = last.lag_count - first.lag_count
        return (last.lag_sum - first.lag_sum) / count if count else None


class Scraper:
    """Takes a snapshot every second in a thread of its own, so that a process that does not answer holds nothing up."""

    def __init__(self, picture: Picture, learner: Callable[[], str | None], gate: Callable[[], str | None]) -> None:
        """`learner` and `gate` give the present host:port of their metrics."""
        self._picture = picture
        self._learner = learner
        self._gate = gate
        self._stopped = threading.Event()
        self.latest = picture.add({}, {}, "the processes", time.monotonic())
        threading.Thread(target=self._run, name="scraper", daemon=True).start()

    def refresh(self) -> None:
        """Take a snapshot now."""
        learner, gate = fetch_metrics(self._learner()), fetch_metrics(self._gate())
        waiting_for = fetch_waiting_for(self._learner()) if learner else "the learner"
        self.latest = self._picture.add(learner, gate, waiting_for, time.monotonic())

    def close(self) -> None:
        """End the thread at its next turn."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                self.refresh()
            except Exception as error:  # a picture that stands still would look like a run that does
                self.latest = replace(self.latest, waiting_for=f"metrics that can be read: {error!r}")


def fetch_metrics(address: str | None) -> Metrics:
    """Every sample without labels but the run's, by name; empty if the process does not answer."""
    return {sample.name: sample.value for sample in fetch_samples(address) if not {*sample.labels} - {RUN_LABEL}}


def fetch_samples(address: str | None, timeout_seconds: float = TIMEOUT_SECONDS) -> list[Sample]:
    """Every sample; none if the process does not answer in time."""
    families = text_string_to_metric_families(_get(address, "/metrics", timeout_seconds))
    try:
        return [sample for family in families for sample in family.samples]
    except ValueError:  # another program has the port of a process that is gone
        return []


def fetch_waiting_for(address: str | None) -> str:
    """What the process says it waits for; empty if it works or does not answer."""
    return next((line.partition("waiting for ")[2] for line in _get(address, "/healthz").splitlines()), "")


def _get(address: str | None, path: str, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    if address is None:
        return ""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout_seconds) as answer:
            return str(answer.read().decode())
    except (OSError, http.client.HTTPException, ValueError):
        return ""


def _known(metrics: Metrics, name: str) -> float | None:
    value = metrics.get(name, math.nan)
    return value if math.isfinite(value) else None


def _whole(metrics: Metrics, name: str) -> int | None:
    value = _known(metrics, name)
    return None if value is None else int(value)
