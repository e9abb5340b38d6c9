"""The learner's loop: be greeted, wait for a batch, train it, acknowledge it; publish and save when due.

In a deterministic run the loop ends at each checkpoint, and wherever the gate has lost something: see `End.EPOCH_OVER`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto

from headrace_learner import policy_lag
from headrace_learner.batches import Batch
from headrace_learner.exchange import Exchange, Standing
from headrace_learner.replay_training import ReplayTraining
from headrace_learner.reporting import Reporter
from headrace_learner.saving import Saver
from headrace_learner.schedules import passes_multiple
from headrace_learner.training import Learner
from headrace_proto import networks
from headrace_proto.capacity import require_capacity
from headrace_proto.errors import NonFiniteError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import BatchHeader
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health
from headrace_proto.weights import Weights

POLL_SECONDS = 0.5
FAREWELL_SECONDS = 1.0
LONG_WAIT_SECONDS = 5.0
ROOM_SECONDS = 10.0
"""Between attempts to save what a deterministic run cannot go on without."""


class End(Enum):
    """Why the loop ended.

    EPOCH_OVER: a deterministic run goes on from its last checkpoint, as if it had been killed and resumed. Since it
    always does so, it makes no difference where it is killed.
    """

    FINISHED = auto()
    STOPPED = auto()
    EPOCH_OVER = auto()


class Service:
    """One learner between a gate and its actors."""

    def __init__(
        self,
        settings: LearnerSettings,
        run: RunSpecification,
        learner: Learner,
        exchange: Exchange,
        saver: Saver,
        reporter: Reporter,
        metrics: LearnerMetrics,
        health: Health,
        stop: StopSignal,
        log: Logger,
        replay: ReplayTraining | None = None,
    ) -> None:
        self._settings = settings
        self._run_specification = run
        self._learner = learner
        self._replay = replay
        self._exchange = exchange
        self._saver = saver
        self._reporter = reporter
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._log = log
        self._may_log = RateLimit()
        self._standing = Standing(env_steps=learner.counters.env_steps)
        # A replay is in no checkpoint: emptied at each, it would never fill.
        self._has_epochs = settings.deterministic and replay is None
        self._is_epoch_over = False
        self._last_arrival = self._tried_to_save = time.monotonic()

    def run(self) -> End:
        """Train until the run's steps are done, the epoch is over or a signal says stop, and save.

        Raises UserError if the disk takes no last checkpoint.
        """
        while not self._stop.is_set and not self._is_finished and not self._is_epoch_over:
            arrived = self._wait()
            self._reporter.tick()
            if arrived is None:
                continue
            if arrived.header.rollouts == 0:
                self._be_greeted(arrived.header)
            elif self._is_from_my_gate(arrived.header):
                self._train(arrived)
            else:
                self._drop(arrived.header)
        is_to_be_saved = self._is_finished or not self._has_epochs
        if is_to_be_saved:
            self._save()
        if self._is_finished:
            self._say_farewell()
            if self._settings.stay_up:
                self._stay()
        elif self._is_epoch_over and not self._stop.is_set:
            return End.EPOCH_OVER
        if is_to_be_saved:
            self._saver.require_saved(self._learner)
        self._log.info("stopped", env_steps=self._learner.counters.env_steps, finished=self._is_finished)
        return End.FINISHED if self._is_finished else End.STOPPED

    @property
    def _is_greeted(self) -> bool:
        return self._standing.generation > 0

    @property
    def _is_finished(self) -> bool:
        return self._is_greeted and self._learner.counters.env_steps >= self._settings.steps

    def _wait(self) -> Batch | None:
        """The next greeting or batch, or None after half a second."""
        waiting_for = "batch" if self._is_greeted else "gate"
        self._health.beat("" if self._exchange.has_batch else waiting_for)
        started = time.monotonic()
        arrived = self._exchange.take(POLL_SECONDS)
        now = time.monotonic()
        self._metrics.batch_wait_seconds.inc(now - started)
        if arrived is not None:
            self._last_arrival = now
        elif now - self._last_arrival > LONG_WAIT_SECONDS and self._may_log.allows("waiting"):
            self._log.info("waiting", waiting_for=waiting_for, seconds=round(now - self._last_arrival, 1))
        return arrived

    def _be_greeted(self, greeting: BatchHeader) -> None:
        """Take a gate's generation and version, and publish under them; a greeting that is known changes nothing."""
        if self._is_from_my_gate(greeting):
            return
        if self._is_greeted and self._settings.deterministic and not self._is_finished:
            self._is_epoch_over = True
            self._log.warning("the gate was lost, or has lost something: going on from the last checkpoint")
            return
        run = self._run_specification
        require_capacity(greeting.capacity, run.batch_size, run.environments_per_actor, run.rollout_length)
        # A new learner continues the version that the gate knows, even if its checkpoint is older or newer; one that
        # meets a restarted gate never goes back.
        version = max(greeting.version, self._standing.version)
        self._standing = replace(
            self._standing, gate=greeting.gate, generation=greeting.generation, version=version, waiting_for="batch"
        )
        bound = policy_lag.bound(self._settings, greeting)
        self._metrics.policy_lag_bound.set(bound)
        if self._replay is not None:
            self._replay.be_greeted(bound)
        self._log.info("greeted", generation=greeting.generation, version=version, policy_lag_bound=bound)
        self._publish()
        self._exchange.report(self._standing)

    def _is_from_my_gate(self, header: BatchHeader) -> bool:
        return header.gate == self._standing.gate and header.generation == self._standing.generation

    def _drop(self, header: BatchHeader) -> None:
        """A batch of a gate that is gone: its successor has counted it lost."""
        self._metrics.refused_batches.inc()
        self._log.warning("batch_dropped", batch=header.batch, reason="another gate has greeted since")
        self._acknowledge(header)

    def _train(self, batch: Batch) -> None:
        self._count_rejected(batch.rejected)
        before = self._learner.counters.env_steps
        if len(batch):
            self._update(batch)
        after = self._learner.counters.env_steps
        if self._is_publication_due(before, after):
            self._publish()
        self._acknowledge(batch.header)
        if passes_multiple(before, after, self._settings.save_every):
            self._save()
            if self._has_epochs:
                self._end_epoch()

    def _end_epoch(self) -> None:
        """Wait until the checkpoint of this step is saved: from the one before, this epoch would be played again."""
        while not self._saver.has_saved(self._learner):
            if self._stop.is_set:
                return
            self._health.beat("room for a checkpoint")
            self._reporter.tick()
            time.sleep(POLL_SECONDS)
            self._save_if_there_was_no_room()
        self._is_epoch_over = True

    def _is_publication_due(self, before: int, after: int) -> bool:
        # Batches cut short by rejections bring fewer steps: they are counted too, for the bound of the lag.
        versions = self._standing.version - self._standing.published_version
        is_late = versions >= policy_lag.versions_between_publications(self._settings)
        return is_late or passes_multiple(before, after, self._settings.publish_every)

    def _update(self, batch: Batch) -> None:
        """Train a batch, which makes a version: one update for each minibatch, or with a replay any number."""
        version = self._standing.version
        try:
            updates = self._learner.train(batch) if self._replay is None else self._replay.train(batch, version)
        except NonFiniteError as error:
            # Else the gate would keep it for the learner that comes next, and for every other after that.
            self._count_rejected({"not_finite": len(batch)})
            self._acknowledge(batch.header)
            raise self._with_advice(error) from error
        minibatches = [update.minibatch for update in updates if update.minibatch is not None]
        lags = policy_lag.of_batch(batch.versions, version, self._settings.updates_per_batch, minibatches)
        self._standing = replace(
            self._standing,
            version=version + 1,
            env_steps=self._learner.counters.env_steps,
            trained=self._standing.trained + len(batch),
        )
        self._reporter.trained(batch, updates, lags)

    def _count_rejected(self, counts: Mapping[str, int]) -> None:
        rejected = Counter(self._standing.rejected)
        rejected.update(counts)
        self._standing = replace(self._standing, rejected=dict(rejected))

    def _acknowledge(self, header: BatchHeader) -> None:
        self._standing = replace(
            self._standing,
            trained_batch=max(self._standing.trained_batch, header.batch),
            waiting_for="" if self._exchange.has_batch else "batch",
            finished=self._is_finished,
        )
        self._exchange.report(self._standing)

    def _publish(self) -> None:
        standing = self._standing
        parameters = networks.published(self._learner.behaviour)
        weights = Weights(standing.generation, standing.version, standing.env_steps, parameters)
        self._exchange.publish(weights.encode())
        self._standing = replace(standing, published_version=standing.version)
        self._metrics.weights_version.set(standing.version)
        self._health.ready = True

    def _save_if_there_was_no_room(self) -> None:
        if not self._saver.has_saved(self._learner) and time.monotonic() - self._tried_to_save >= ROOM_SECONDS:
            self._save()

    def _save(self) -> None:
        self._tried_to_save = time.monotonic()
        try:
            action = "waiting for room" if self._has_epochs else "training goes on"
            self._saver.save(self._learner, self._standing.version, action)
        except NonFiniteError as error:
            raise self._with_advice(error) from error

    def _say_farewell(self) -> None:
        """Tell the gate several times, since one message may be lost."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        self._standing = replace(self._standing, finished=True, waiting_for="")
        while time.monotonic() < deadline:
            self._exchange.report(self._standing)
            time.sleep(FAREWELL_SECONDS / 5)

    def _stay(self) -> None:
        """Tell that the run is finished to whoever asks, a gate that restarted too, until a signal says stop."""
        self._log.info("finished", env_steps=self._learner.counters.env_steps, waiting_for="a signal to stop")
        while not self._stop.is_set:
            self._health.beat("a signal to stop")
            self._save_if_there_was_no_room()
            arrived = self._exchange.take(POLL_SECONDS)
            if arrived is not None and arrived.header.rollouts == 0:
                self._be_greeted(arrived.header)

    def _with_advice(self, error: NonFiniteError) -> NonFiniteError:
        good = self._saver.last.path if self._saver.last else "none"
        return NonFiniteError(f"{error}; last good checkpoint: {good}; try a lower --learning-rate or --gradient-clip")
