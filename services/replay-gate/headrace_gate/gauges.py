"""The gate's metrics, brought up to date from its account after every turn."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from headrace_gate.gate import Gate
from headrace_gate.one_moment import OneMoment
from headrace_proto.metrics import REFUSAL_REASONS, GateMetrics


class Gauges:
    """Exports a `Gate`; counters go on from a restored account."""

    def __init__(self, registry: CollectorRegistry, capacity: int) -> None:
        self.capacity_limited_for_seconds = 0.0
        self._shown = OneMoment(registry)
        self._metrics = GateMetrics(self._shown.registry)
        self.connections = self._metrics.connections
        self._metrics.capacity.set(capacity)
        self._exported: dict[Counter, int] = {}
        self._first_generation: int | None = None

    def update(self, gate: Gate, turn_seconds: float) -> None:
        """Set every gauge and move every counter to the account's value; to a scrape, all at once."""
        with self._shown.changing:
            self._follow_account(gate)
        for seconds in gate.waits:
            self._metrics.queue_wait_seconds.observe(seconds)
        gate.waits.clear()
        self._follow_capacity_limit(gate, turn_seconds)

    def delivered(self, count: int) -> None:
        """A batch went to the learner."""
        self._metrics.delivered_total.inc(count)

    def received(self, count: int) -> None:
        """So many bytes came in TRANSITIONS."""
        self._metrics.received_bytes.inc(count)

    def sent(self, count: int) -> None:
        """So many bytes went to the learner in BATCH."""
        self._metrics.sent_bytes.inc(count)

    def met_learner(self, generation: int) -> None:
        """A learner was met; the first is no restart."""
        if self._first_generation is None:
            self._first_generation = generation
        else:
            self._metrics.learner_restarts.inc()

    def count_refusal(self, reason: str) -> None:
        """A message was refused."""
        self._metrics.refused_messages_total.labels(reason if reason in REFUSAL_REASONS else "malformed").inc()

    def _follow_account(self, gate: Gate) -> None:
        ledger, metrics = gate.ledger, self._metrics
        metrics.alive.set(ledger.alive)
        metrics.granted.set(ledger.outstanding)
        metrics.queued.set(ledger.queued)
        metrics.untrained.set(ledger.delivered)
        metrics.actors.set(len(gate.roster.seats))
        metrics.waiting_actors.set(gate.roster.waiting)
        metrics.run_finished.set(gate.learner.is_finished)
        self._advance(metrics.promised_total, ledger.promised_total)
        self._advance(metrics.returned_total, ledger.returned_total)
        self._advance(metrics.accepted_total, ledger.accepted_total)
        self._advance(metrics.trained_total, ledger.trained_total)
        for reason, count in ledger.rejected.items():
            self._advance(metrics.rejected_total.labels(reason), count)
        for cause, count in ledger.lost.items():
            self._advance(metrics.lost_total.labels(cause), count)

    def _advance(self, counter: Counter, value: int) -> None:
        counter.inc(value - self._exported.get(counter, 0))
        self._exported[counter] = value

    def _follow_capacity_limit(self, gate: Gate, turn_seconds: float) -> None:
        if gate.is_capacity_limited:
            self._metrics.capacity_limited_seconds.inc(turn_seconds)
            self.capacity_limited_for_seconds += turn_seconds
        else:
            self.capacity_limited_for_seconds = 0.0
