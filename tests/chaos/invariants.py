"""What must hold in every sample of the services' metrics, whatever fails. Pure: samples and times are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

Metrics = Mapping[str, float]
"""Sums over labels, by the name without the prefix `headrace_`."""

ADVANCE_SECONDS = 20.0
"""The longest that nothing may be trained while no fault in force stops training."""

SETTLED = ("returned", "trained", "rejected", "lost")
COUNTERS = ("promised", *SETTLED)


class PromiseBrokenError(Exception):
    """An invariant does not hold, and what was seen."""


def account(gate: Metrics) -> dict[str, float]:
    """The gate's account in one scrape, in transitions."""
    return {
        **{name: gate[f"gate_{name}_transitions_total"] for name in (*COUNTERS, "accepted")},
        **{name: gate[f"gate_{name}_transitions"] for name in ("alive", "granted", "queued", "untrained", "capacity")},
    }


class Judge:
    """Hears every sample and raises PromiseBrokenError at the first that breaks an invariant."""

    def __init__(self) -> None:
        self.samples = 0
        self.books: dict[str, float] = {}
        self.largest_alive = 0.0
        self.largest_lag = 0.0
        self.longest_pause_seconds = 0.0
        self._made: dict[tuple[str, int], float] = {}
        self._made_at_last_sample = 0.0
        self.unhindered_seconds = 0.0
        self._paused_seconds = 0.0
        self._looked_at: float | None = None

    @property
    def made(self) -> float:
        """Transitions that actors are known to have generated, dead ones included."""
        return sum(self._made.values())

    @property
    def made_by_actor(self) -> dict[str, float]:
        """The same of each actor."""
        made: defaultdict[str, float] = defaultdict(float)
        for (name, _), count in self._made.items():
            made[name] += count
        return dict(made)

    def hear_actor(self, name: str, number: int, metrics: Metrics) -> None:
        """A sample of the `number`-th process of an actor."""
        self.samples += 1
        self._made[name, number] = metrics["actor_env_steps_total"]

    def hear_learner(self, metrics: Metrics) -> None:
        """A sample of the learner."""
        self.samples += 1
        lag, bound = metrics["learner_policy_lag_max_updates"], metrics["learner_policy_lag_bound_updates"]
        self.largest_lag = max(self.largest_lag, lag)
        # Before its gate has greeted it a learner knows no bound, and trains nothing.
        if lag > bound:
            raise PromiseBrokenError(f"a transition was trained {lag:g} updates late, and the bound is {bound:g}")

    def hear_gate(self, metrics: Metrics, made_before: float) -> bool:
        """A sample of the gate, asked for when actors had made so many; returns whether it shows more trained.

        A busy gate shows its account a moment late, so what had been made at its sample before is held against it.
        """
        self.samples += 1
        books, earlier = account(metrics), self.books
        self.largest_alive = max(self.largest_alive, books["alive"])
        _require_closed(books)
        for name in COUNTERS if earlier else ():
            if books[name] < earlier[name]:
                raise PromiseBrokenError(f"{name} went back from {earlier[name]:g}: {books}")
        if self._made_at_last_sample > books["promised"] - books["returned"]:
            raise PromiseBrokenError(f"actors made {self._made_at_last_sample:g}, more than was promised: {books}")
        self._made_at_last_sample = made_before
        self.books = books
        has_advanced = not earlier or books["trained"] > earlier["trained"]
        if has_advanced:
            self._paused_seconds = 0.0
        return has_advanced

    def look(self, now: float, is_hindered: bool) -> None:
        """Time goes by; while it `is_hindered` by a fault nothing need be trained."""
        if self._looked_at is not None and not is_hindered:
            self.unhindered_seconds += now - self._looked_at
            self._paused_seconds += now - self._looked_at
        self._looked_at = now
        self.longest_pause_seconds = max(self.longest_pause_seconds, self._paused_seconds)
        if self._paused_seconds > ADVANCE_SECONDS:
            raise PromiseBrokenError(
                f"nothing was trained for {ADVANCE_SECONDS:g} s in which no fault stood in the way: {self.books}"
            )


def _require_closed(books: Mapping[str, float]) -> None:
    settled = sum(books[name] for name in SETTLED)
    if books["promised"] != settled + books["alive"]:
        raise PromiseBrokenError(f"the account is open by {books['promised'] - settled - books['alive']:g}: {books}")
    if books["alive"] != books["granted"] + books["queued"] + books["untrained"]:
        raise PromiseBrokenError(f"alive is not what is granted, queued and untrained: {books}")
    if not 0 <= books["alive"] <= books["capacity"]:
        raise PromiseBrokenError(f"more are alive than the capacity allows: {books}")
