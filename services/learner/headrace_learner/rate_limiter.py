"""How many updates an insertion into the replay brings. Pure."""

from __future__ import annotations


class SampleToInsertRatio:
    """Reverb's rate limiter of that name, of a learner that samples as soon as it may.

    After N insertions floor(ratio (N - N_min) / batch size) updates have been made, none before N_min: the fraction of
    an update is carried to the next insertion.
    """

    def __init__(self, samples_per_insert: float, min_size_to_sample: int, batch_size: int) -> None:
        self._samples_per_insert = samples_per_insert
        self._min_size_to_sample = min_size_to_sample
        self._batch_size = batch_size
        self._inserted = 0
        self._updates = 0

    def insert(self, transitions: int) -> int:
        """Count transitions that were inserted; returns the updates to make before the next ones."""
        self._inserted += transitions
        before, self._updates = self._updates, int(self._samples_per_insert * self._sampled_from / self._batch_size)
        return self._updates - before

    @property
    def achieved(self) -> float:
        """Transitions sampled for each one inserted since sampling began, 0 before."""
        return self._updates * self._batch_size / self._sampled_from if self._sampled_from else 0.0

    @property
    def _sampled_from(self) -> int:
        return max(0, self._inserted - self._min_size_to_sample)
