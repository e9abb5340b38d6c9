"""The evaluator: a service that plays whole games with each newest checkpoint of a run and exports their scores.

It reads the run's folder and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from prometheus_client import CollectorRegistry

from headrace_learner import checkpoint_policy, evaluation, run
from headrace_learner.checkpoint_policy import CheckpointPolicy
from headrace_learner.checkpoints import Checkpoint, InvalidCheckpointError
from headrace_learner.choice import require_same_actions
from headrace_learner.following import Follower
from headrace_proto import logs
from headrace_proto.arguments import parse
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.metrics import EvaluatorMetrics
from headrace_proto.settings import EvaluatorSettings
from headrace_proto.telemetry import Health, TelemetryServer

POLL_SECONDS = 0.5
WAITING_LINE_SECONDS = 60.0


def main(arguments: Sequence[str]) -> None:
    """Follow a run until stopped; raises UserError."""
    stop = StopSignal().install()
    settings = parse(EvaluatorSettings, arguments, "headrace-learner evaluator")
    log = logs.configure("evaluator", settings.log_level)
    registry, health = CollectorRegistry(), Health()
    metrics = EvaluatorMetrics(registry)
    health.run = run.name_of(settings.run_dir)
    with closing(TelemetryServer(registry, health, settings.metrics_host, settings.metrics_port)) as telemetry:
        telemetry.write_address(settings.metrics_address_file)
        log.info("started", run_dir=str(settings.run_dir), metrics=telemetry.address)
        Evaluator(settings, metrics, health, stop, log).run()
    log.info("stopped")


class Evaluator:
    """Plays the newest checkpoint, again and again."""

    def __init__(
        self, settings: EvaluatorSettings, metrics: EvaluatorMetrics, health: Health, stop: StopSignal, log: Logger
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._log = log
        self._may_log = RateLimit(WAITING_LINE_SECONDS)
        self._follower = Follower(settings.run_dir, log)

    def run(self) -> None:
        """Turn until stopped; raises UserError for a checkpoint of other actions than the game has here."""
        self._health.ready = True
        while not self._stop.is_set:
            checkpoint = self._follower.newer()
            if checkpoint is not None:
                self._evaluate(checkpoint)
            else:
                self._wait()

    def _wait(self) -> None:
        waiting_for = self._follower.waiting_for
        self._health.beat(waiting_for)
        if self._may_log.allows(waiting_for):
            self._log.info("waiting", waiting_for=waiting_for, run_dir=str(self._settings.run_dir))
        time.sleep(POLL_SECONDS)

    def _evaluate(self, checkpoint: Checkpoint) -> None:
        self._health.beat()
        require_same_actions(checkpoint)
        try:
            policy = checkpoint_policy.read(checkpoint, self._settings.epsilon, self._settings.seed)
        except (OSError, InvalidCheckpointError) as error:
            self._look_anew(checkpoint, error)
            return
        scores = self._play(policy, checkpoint)
        if not self._stop.is_set:
            self._show(checkpoint, scores)

    def _look_anew(self, checkpoint: Checkpoint, error: Exception) -> None:
        """A checkpoint cannot be read that was whole a moment ago: it has been deleted since, or written over."""
        if self._may_log.allows("gone"):
            self._log.warning("checkpoint_gone", path=str(checkpoint.path), error=str(error), action="looking anew")
        self._follower.give_again()
        self._wait()

    def _play(self, policy: CheckpointPolicy, checkpoint: Checkpoint) -> list[float]:
        """The scores of all games, or of those that had ended when a signal came."""
        scores: list[float] = []
        turns = evaluation.play_games(policy, checkpoint.state.run, self._settings.episodes, self._settings.seed)
        with closing(turns):
            for ended in turns:
                scores += ended
                self._metrics.episodes.inc(len(ended))
                self._health.beat()
                if self._stop.is_set:
                    break
        return scores

    def _show(self, checkpoint: Checkpoint, scores: list[float]) -> None:
        settings, metrics = self._settings, self._metrics
        result = evaluation.summary(checkpoint, scores, settings.epsilon, settings.seed)
        metrics.return_mean.set(result["mean"])
        metrics.return_median.set(result["median"])
        metrics.return_standard_deviation.set(result["standard_deviation"])
        metrics.return_min.set(result["minimum"])
        metrics.return_max.set(result["maximum"])
        metrics.epsilon.set(settings.epsilon)
        metrics.checkpoint_timestamp.set(checkpoint.state.saved_at)
        metrics.env_steps.set(result["env_steps"])
        metrics.evaluations.inc()
        self._log.info("evaluated", **{name: value for name, value in result.items() if name != "scores"})
