"""Trains a learner on samples from a replay, in place of each batch once."""

from __future__ import annotations

import math
import time

import numpy as np

from headrace_learner.algorithms.q_learning import QLearning
from headrace_learner.batches import Batch
from headrace_learner.rate_limiter import SampleToInsertRatio
from headrace_learner.replay import Replay
from headrace_learner.training import Learner, Update
from headrace_proto.replay_metrics import ReplayMetrics
from headrace_proto.specification import RunSpecification


class ReplayTraining:
    """Inserts each batch and makes the updates that it brings; then the batch counts as trained.

    A checkpoint does not keep the replay: a learner that resumes fills a new one before it samples.
    """

    def __init__(self, learner: Learner, run: RunSpecification, metrics: ReplayMetrics) -> None:
        """Of a learner whose algorithm is one of QLearning."""
        assert isinstance(learner.algorithm, QLearning), "combinations.py lets no other through"
        settings = learner.settings
        is_prioritized = settings.replay == "prioritized"
        self._learner = learner
        self._algorithm = learner.algorithm
        self._batch_size = settings.batch_size
        self._batches_kept = math.ceil(settings.replay_max_size / settings.batch_size)
        self._replay = Replay(
            run,
            settings.replay_max_size,
            most_batches=self._batches_kept,
            alpha=settings.priority_exponent if is_prioritized else 0.0,
            beta=settings.importance_sampling_exponent if is_prioritized else 0.0,
            seed=(settings.seed, learner.counters.env_steps),
        )
        self._limiter = SampleToInsertRatio(
            settings.samples_per_insert, settings.replay_min_size_to_sample, settings.batch_size
        )
        self._metrics = metrics
        self._age_max = self._age_bound = 0
        metrics.max_size.set(settings.replay_max_size)

    def be_greeted(self, policy_lag_bound: int) -> None:
        """Show the bound of the samples' age: a batch's, and the batches that may come while its transitions stay."""
        # What the replay holds may have come from another gate, with another bound.
        self._age_bound = max(self._age_bound, policy_lag_bound + self._batches_kept - 1)
        self._metrics.sample_age_bound.set(self._age_bound)

    def train(self, batch: Batch, version: int) -> list[Update]:
        """Make the updates that a batch brings to weights of `version`, often none or several; raises NonFiniteError.

        Learning rate and target network follow `env_steps`, which count the batch once they are made.
        """
        self._replay.insert(batch, self._algorithm.look_ahead(batch))
        updates = [self._update(version) for _ in range(self._limiter.insert(len(batch)))]
        self._learner.count(batch)
        self._metrics.size.set(len(self._replay))
        self._metrics.samples_per_insert.set(self._limiter.achieved)
        return updates

    def _update(self, version: int) -> Update:
        started = time.perf_counter()
        learner, sample = self._learner, self._replay.sample(self._batch_size)
        evaluation = self._algorithm.evaluate_transitions(
            sample.transitions.to(learner.device), learner.online, learner.target, rollouts=self._batch_size
        )
        update = learner.step(evaluation, started)
        if self._replay.has_priorities:
            assert evaluation.errors is not None
            self._replay.update_priorities(sample.places, evaluation.errors.cpu().numpy())
        ages = np.maximum(0, version - sample.versions)
        for age, times in zip(*np.unique(ages, return_counts=True), strict=True):
            self._metrics.sample_age.observe(int(age), int(times))
        self._age_max = max(self._age_max, int(ages.max()))
        self._metrics.sample_age_max.set(self._age_max)
        return update
