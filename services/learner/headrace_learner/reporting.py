"""What a person and Prometheus see of training: metrics, curves and a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace_learner.batches import Batch
from headrace_learner.training import Counters, Update
from headrace_learner.training_log import Row, TrainingLog
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.metrics import LearnerMetrics

ROW_SECONDS = 5.0
PROGRESS_SECONDS = 10.0


@dataclass(slots=True)
class Span:
    """What happened since the last row, or the last line."""

    env_steps: int
    started: float = field(default_factory=time.monotonic)
    lag_sum: int = 0
    lag_max: int = 0
    transitions: int = 0

    def add(self, lags: NDArray[np.int64]) -> None:
        """Count the policy lags of a batch."""
        self.lag_sum += int(lags.sum())
        self.lag_max = max(self.lag_max, int(lags.max(initial=0)))
        self.transitions += len(lags)

    @property
    def lag_mean(self) -> float | None:
        """Mean policy lag in updates, None if nothing was trained."""
        return self.lag_sum / self.transitions if self.transitions else None

    def steps_per_second(self, env_steps: int) -> float:
        """Transitions trained a second."""
        return (env_steps - self.env_steps) / max(1e-9, time.monotonic() - self.started)


class Reporter:
    """Follows the counters of a learner."""

    def __init__(
        self, metrics: LearnerMetrics, run_dir: Path, counters: Counters, frame_skip: int, steps: int, log: Logger
    ) -> None:
        self._metrics = metrics
        self._run_dir = run_dir
        self._first_step = counters.env_steps
        self._curves: TrainingLog | None = None
        self._counters = counters
        self._frame_skip = frame_skip
        self._log = log
        self._may_log = RateLimit()
        self._lag_max = 0
        self._row_span, self._line_span = Span(counters.env_steps), Span(counters.env_steps)
        self._update: Update | None = None
        self._epsilon: float | None = None
        metrics.target_env_steps.set(steps)
        self._show_counters()
        with self._whatever_the_disk_does():
            self._opened_curves()

    def trained(self, batch: Batch, updates: list[Update], lags: NDArray[np.int64]) -> None:
        """Show a batch, its updates, one but for a replay's, and the policy lags of its transitions, int64 [N]."""
        self._epsilon = float(np.average(batch.epsilons, weights=batch.lengths))
        for span in (self._row_span, self._line_span):
            span.add(lags)
        metrics = self._metrics
        metrics.transitions.inc(len(batch))
        metrics.episodes.inc(len(batch.episodes))
        for lag, times in zip(*np.unique(lags, return_counts=True), strict=True):
            metrics.policy_lag.observe(int(lag), int(times))
        self._lag_max = max(self._lag_max, int(lags.max()))
        metrics.policy_lag_max.set(self._lag_max)
        metrics.epsilon.set(self._epsilon)
        for update in updates:
            self._show_update(update)
        if self._curves is not None:
            with self._whatever_the_disk_does():
                for episode in batch.episodes:
                    self._curves.episode(episode.score, episode.length, self._counters.env_steps)
        self._show_counters()

    def tick(self) -> None:
        """Write a row and a line when they are due, also while nothing is trained: waiting is time of the run too."""
        now = time.monotonic()
        if now - self._row_span.started >= ROW_SECONDS:
            self._write_row()
        if now - self._line_span.started >= PROGRESS_SECONDS:
            self._write_line()

    def close(self) -> None:
        """Write the last row, if there is anything in it, and the last line."""
        if self._row_span.transitions:
            self._write_row()
        self._write_line()
        with self._whatever_the_disk_does():
            if self._curves is not None:
                self._curves.close()

    def _opened_curves(self) -> TrainingLog:
        """The curves, opened once the disk allows it."""
        if self._curves is None:
            self._curves = TrainingLog(self._run_dir, self._first_step)
        return self._curves

    @contextmanager
    def _whatever_the_disk_does(self) -> Iterator[None]:
        """Curves that cannot be written are logged, and training goes on."""
        try:
            yield
        except OSError as error:
            if self._may_log.allows("curves"):
                self._log.error("curves_failed", error=str(error), action="training goes on")

    def _show_update(self, update: Update) -> None:
        self._update = update
        metrics = self._metrics
        metrics.updates.inc()
        metrics.loss.set(update.loss)
        metrics.q_value_mean.set(update.q_value_mean)
        metrics.gradient_norm.set(update.gradient_norm)
        metrics.learning_rate.set(update.learning_rate)
        metrics.update_seconds.observe(update.seconds)
        for name, value in update.logged.items():
            metrics.logged[name].set(value)

    def _show_counters(self) -> None:
        self._metrics.env_steps.set(self._counters.env_steps)
        self._metrics.run_updates.set(self._counters.updates)
        if self._counters.return_mean is not None:
            self._metrics.episode_return_mean.set(self._counters.return_mean)

    def _row(self, span: Span) -> Row:
        counters, update = self._counters, self._update
        return Row(
            time=time.time(),
            env_steps=counters.env_steps,
            frames=counters.env_steps * self._frame_skip,
            updates=counters.updates,
            episodes=counters.episodes,
            return_mean_100=counters.return_mean,
            loss=update.loss if update else None,
            q=update.q_value_mean if update else None,
            gradient_norm=update.gradient_norm if update else None,
            learning_rate=update.learning_rate if update else None,
            epsilon=self._epsilon,
            lag_mean=span.lag_mean,
            lag_max=span.lag_max if span.transitions else None,
            steps_per_second=span.steps_per_second(counters.env_steps),
            logged=update.logged if update else {},
        )

    def _write_row(self) -> None:
        with self._whatever_the_disk_does():
            self._opened_curves().row(self._row(self._row_span))
        self._row_span = Span(self._counters.env_steps)

    def _write_line(self) -> None:
        row = self._row(self._line_span)
        self._line_span = Span(self._counters.env_steps)
        self._log.info(
            "progress",
            env_steps=row.env_steps,
            frames=row.frames,
            updates=row.updates,
            episodes=row.episodes,
            steps_per_second=round(row.steps_per_second, 1),
            frames_per_second=round(row.steps_per_second * self._frame_skip, 1),
            return_mean_100=row.return_mean_100,
            loss=row.loss,
            q=row.q,
            epsilon=row.epsilon,
            learning_rate=row.learning_rate,
            lag_mean=row.lag_mean,
            lag_max=row.lag_max,
        )
