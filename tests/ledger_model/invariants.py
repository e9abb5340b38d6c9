"""What holds in every state, and over every move, whatever befalls the peers and the network."""

from __future__ import annotations

from collections import Counter

from headrace_gate.gate import Gate
from headrace_gate.ledger import CreditLedger
from headrace_proto import messages
from ledger_model.world import World


def broken(before: World, after: World) -> str:
    """What no longer holds after a move, in a sentence; empty if all holds."""
    for is_broken, sentence in (
        (after.gate.ledger.alive > after.size.capacity, "more transitions are alive than the capacity"),
        (not account_closes(after.gate), "the account does not close"),
        (not places_agree(after.gate), "the ledger and what is queued, untrained or owed differ"),
        (_is_kept_twice(after), "the gate keeps one rollout twice"),
        (_is_made_twice(before, after), "a credit was made twice"),
    ):
        if is_broken:
            return sentence
    return ""


def account_closes(gate: Gate) -> bool:
    """promised - returned = trained + rejected + lost + alive."""
    ledger = gate.ledger
    settled = ledger.returned_total + ledger.trained_total + ledger.rejected.total() + ledger.lost.total()
    return ledger.promised_total == settled + ledger.alive


def places_agree(gate: Gate) -> bool:
    """What the ledger counts is what is owed, queued and untrained."""
    ledger = gate.ledger
    owed = sum(credit.remaining for session in ledger.sessions for credit in ledger.credits(session).values())
    untrained = sum(batch.count for batch in gate.learner.untrained)
    return (ledger.outstanding, ledger.queued, ledger.delivered) == (owed, gate.queue.transitions, untrained)


def _is_kept_twice(world: World) -> bool:
    kept = [*world.gate.queue._rollouts, *(item for batch in world.gate.learner.untrained for item in batch.rollouts)]
    headers = Counter(item.header for item in kept)
    return any(count > 1 for count in headers.values())


def _is_made_twice(before: World, after: World) -> bool:
    """A number stands for one promise; only one that was taken back may be granted anew."""
    was_open, is_open = _open(before.gate.ledger), _open(after.gate.ledger)
    stale = after.gate.ledger.rejected["stale"] - before.gate.ledger.rejected["stale"]
    after.settled |= was_open - is_open if not stale else set()
    return bool((is_open - was_open) & after.settled)


def _open(ledger: CreditLedger) -> set[tuple[messages.Session, int]]:
    return {(session, number) for session in ledger.sessions for number in ledger.credits(session)}
