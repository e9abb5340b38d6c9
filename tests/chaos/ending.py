"""The end of a run: calm, then every service in its turn, with the account down to what nobody can train any more."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from chaos import samples
from chaos.invariants import Judge, Metrics, PromiseBrokenError, account
from chaos.processes import end, start
from chaos.services import Service, Services
from headrace_gate import account_entries
from headrace_gate.journal import Journal
from headrace_gate.ledger import CreditLedger
from headrace_learner import checkpoint_store
from headrace_proto.settings import LearnerSettings

SETTLE_SECONDS = 60.0
CALM_TRANSITIONS = 2_000
CALM_LEASES = 5
"""TCP may need as long again as a partition lasted before it sends what that held up."""

LOOK_SECONDS = 0.1


async def end_in_order(services: Services, judge: Judge, lease_seconds: float, show: Callable[[str], None]) -> None:
    """Raises PromiseBrokenError if what is left over is not as it should be."""
    await _calm(services, judge, lease_seconds)
    show("calm: every actor plays, training goes on, nothing is lost")
    await asyncio.gather(*(end(actor, signal.SIGTERM) for actor in services.actors))
    first = await _settled(services)
    await _play_alone(services.actors[0], judge)
    last = await _settled(services)
    _require_the_learners_word(first, last)
    show(f"settled: {last[0]}")
    await end(services.learner, signal.SIGTERM)
    _require_checkpoint(services, last[1]["learner_env_steps"])
    await end(services.gate, signal.SIGTERM)
    _require_journal(services, last[0])


async def _calm(services: Services, judge: Judge, lease_seconds: float) -> None:
    """Once everything has been up for some leases all that was under way is accounted for; then nothing is lost."""
    await asyncio.sleep(CALM_LEASES * lease_seconds)
    gate = services.gate
    await _until(lambda metrics: metrics["gate_actors"] == len(services.actors), gate, "not every actor is seated")
    before, played = judge.books, judge.made_by_actor
    await _until(
        lambda metrics: all(judge.made_by_actor[name] > count for name, count in played.items()),
        gate,
        "not every actor plays",
    )
    await _until(
        lambda metrics: metrics["gate_trained_transitions_total"] >= before["trained"] + CALM_TRANSITIONS,
        gate,
        f"fewer than {CALM_TRANSITIONS} transitions were trained in the calm",
    )
    if judge.books["lost"] > before["lost"]:
        raise PromiseBrokenError(f"{judge.books['lost'] - before['lost']:g} transitions were lost in the calm")


async def _play_alone(actor: Service, judge: Judge) -> None:
    before = judge.books["trained"]
    await start(actor)
    deadline = time.monotonic() + SETTLE_SECONDS
    while judge.books["trained"] < before + CALM_TRANSITIONS:
        if time.monotonic() >= deadline:
            raise PromiseBrokenError(f"one actor alone trains nothing: {judge.books}")
        await asyncio.sleep(LOOK_SECONDS)
    await end(actor, signal.SIGTERM)


async def _settled(services: Services) -> tuple[dict[str, float], Metrics]:
    """The account and the learner's metrics once no actor owes anything and nothing is untrained."""
    await _until(
        lambda metrics: metrics["gate_granted_transitions"] == metrics["gate_untrained_transitions"] == 0,
        services.gate,
        "the account does not settle",
    )
    assert services.gate.metrics_address is not None
    assert services.learner.metrics_address is not None
    gate, learner = samples.read(services.gate.metrics_address), samples.read(services.learner.metrics_address)
    if gate is None or learner is None:
        raise PromiseBrokenError("gate or learner does not answer")
    books = account(gate)
    batch_size = LearnerSettings.model_fields["batch_size"].default
    if books["alive"] != books["queued"] or not books["queued"] < batch_size:
        raise PromiseBrokenError(f"more is left than what is too little for a batch of {batch_size}: {books}")
    return books, learner


def _require_the_learners_word(first: tuple[dict[str, float], Metrics], last: tuple[dict[str, float], Metrics]) -> None:
    """What the gate counts as trained is what the learner says it has trained."""
    counted = last[0]["trained"] - first[0]["trained"]
    trained = last[1]["learner_transitions_total"] - first[1]["learner_transitions_total"]
    if counted != trained:
        raise PromiseBrokenError(f"the gate counts {counted:g} transitions as trained, the learner {trained:g}")


def _require_checkpoint(services: Services, env_steps: float) -> None:
    """The newest checkpoint is whole, and of the last step."""
    warnings: list[str] = []
    newest = checkpoint_store.latest(services.places.run, warnings.append)
    if newest is None or warnings or newest.state.env_steps != env_steps:
        found = None if newest is None else newest.state.env_steps
        raise PromiseBrokenError(f"the newest checkpoint is of step {found}, not {env_steps:g}; {warnings}")


def _require_journal(services: Services, books: dict[str, float]) -> None:
    """The gate's journal holds the account that its metrics showed last."""
    entries = Journal(services.places.journal).read()
    if entries is None:
        raise PromiseBrokenError("the gate has left no journal")
    ledger = CreditLedger.restore(round(books["capacity"]), account_entries.parts(entries).ledger)
    kept = (ledger.promised_total, ledger.trained_total, ledger.alive)
    if kept != (books["promised"], books["trained"], books["alive"]):
        raise PromiseBrokenError(f"the journal holds promised, trained and alive {kept}, the metrics {books}")


async def _until(condition: Callable[[Metrics], bool], service: Service, otherwise: str) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        address = service.metrics_address
        metrics = None if address is None else await asyncio.to_thread(samples.read, address)
        if metrics is not None and condition(metrics):
            return
        if time.monotonic() >= deadline:
            raise PromiseBrokenError(f"{otherwise} within {SETTLE_SECONDS:.0f} s: {metrics and account(metrics)}")
        await asyncio.sleep(LOOK_SECONDS)
