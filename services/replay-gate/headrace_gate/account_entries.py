"""The gate's account as entries by key, so that the journal writes only those that changed. Pure.

A session's entry says where it sits and what it owes: of a thousand actors a turn writes those that it dealt with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace_gate.learner_account import LearnerAccount
from headrace_gate.ledger import CreditLedger
from headrace_gate.roster import Roster
from headrace_proto.messages import Session

Key = str | bytes
Entries = dict[Key, Any]
"""Plain values; those of sessions have the session as their key, None once it is gone."""

_TOTALS, _LIVES, _BATCHES, _PROGRESS = "totals", "lives", "batches", "progress"


def whole(ledger: CreditLedger, roster: Roster, learner: LearnerAccount) -> Entries:
    """Every entry."""
    sessions = {*ledger.sessions, *roster.seats}
    return {
        _TOTALS: ledger.totals(),
        _LIVES: roster.lives(),
        _BATCHES: learner.batches(),
        _PROGRESS: learner.progress_state(),
        **{session: _session(session, ledger, roster) for session in sessions},
    }


def changed(ledger: CreditLedger, roster: Roster, learner: LearnerAccount) -> Entries:
    """The entries that may have changed since the last call."""
    sessions = ledger.changed | roster.changed
    entries: Entries = {_TOTALS: ledger.totals(), _BATCHES: learner.batches()}
    if roster.lives_changed:
        entries[_LIVES] = roster.lives()
    if learner.progress_changed:
        entries[_PROGRESS] = learner.progress_state()
    for session in sessions:
        entries[session] = _session(session, ledger, roster)
    ledger.changed.clear()
    roster.changed.clear()
    roster.lives_changed = learner.progress_changed = False
    return entries


@dataclass(frozen=True, slots=True)
class Parts:
    """The states of ledger, roster and learner, as their `restore` takes them."""

    ledger: dict[str, Any]
    roster: dict[str, Any]
    batches: dict[str, Any]
    progress: dict[str, Any] | None


def parts(entries: Entries) -> Parts:
    """Take a whole account apart; raises KeyError for one that lacks an entry. Without a learner yet: no progress."""
    sessions = {key: value for key, value in entries.items() if isinstance(key, bytes)}
    seats = {session: seat for session, (seat, _) in sessions.items() if seat is not None}
    return Parts(
        ledger={"totals": entries[_TOTALS], "owed": {session: owed for session, (_, owed) in sessions.items()}},
        roster={"seats": seats, "lives": entries[_LIVES]},
        batches=entries[_BATCHES],
        progress=entries.get(_PROGRESS),
    )


def _session(session: Session, ledger: CreditLedger, roster: Roster) -> list[Any] | None:
    seat, owed = roster.seat(session), ledger.owed(session)
    return None if seat is None and not owed else [seat, owed]
