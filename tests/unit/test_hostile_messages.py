"""What one message, or many, could once do to the gate, as fuzzing and reading found: each is refused now."""

from __future__ import annotations

from typing import Any

import pytest
from fuzzing.gate import LEARNERS, LEASE_SECONDS
from made_up import a_run

from headrace_gate import roster
from headrace_gate.gate import Addresses, Gate, Limits
from headrace_gate.journal import Journal
from headrace_proto import SCHEMA_VERSION, codec, messages
from headrace_proto.errors import WireError
from headrace_proto.messages import CreditRequest, Join, Leave, Progress, RolloutHeader

NAMES = [bytes([1, number]) * 8 for number in range(8)]


def a_gate(capacity: int = 40) -> Gate:
    return Gate(b"G" * 16, Limits(capacity, 4, LEASE_SECONDS), Addresses("ipc://t", "ipc://w"))


def progress(to: Gate, **changes: Any) -> Progress:
    fields: dict[str, Any] = {
        "learner": LEARNERS[0],
        "gate": to.identity,
        "generation": 1,
        "version": 0,
        "published_version": 0,
        "env_steps": 0,
        "received_batch": 0,
        "trained_batch": 0,
        "trained": 0,
        "rejected": {},
        "run": a_run(),
        "waiting_for": "batch",
        "finished": False,
    }
    return Progress(**{**fields, **changes})


def greeted(capacity: int = 40) -> Gate:
    gate = a_gate(capacity)
    gate.on_progress(progress(gate), 0.0)
    return gate


def join(gate: Gate, session: bytes, credit_of: int = 0) -> None:
    gate.on_actor_message(session, Join(host="").encode(), 0.0)
    if credit_of:
        request = CreditRequest(credit=1, count=credit_of, finished=0)
        gate.on_actor_message(session, request.encode(), 0.0)
        gate.tick(0.0)


def header(session: bytes, part: int, count: int, *, final: bool = False) -> bytes:
    numbers = {"credit": 1, "part": part, "count": count, "generation": 1, "weights_version": 0}
    return RolloutHeader(session=session, actor=0, final=final, **numbers).encode()


@pytest.mark.parametrize("schema", ["x" * 5000, [1] * 50, None, {"a": "b" * 3000}], ids=["text", "list", "none", "map"])
def test_a_schema_version_that_is_no_number_is_answered_in_short(schema: object) -> None:
    gate = greeted()

    with pytest.raises(WireError, match="speaks no schema version"):
        gate.on_actor_message(NAMES[0], codec.encode({"schema": schema, "kind": "JOIN"}), 0.0)

    session, leave = gate.outbox.to_actors[-1]
    assert (session, leave.model_dump()["code"]) == (NAMES[0], "schema")


def test_a_credit_has_no_more_parts_than_transitions_whatever_numbers_they_claim() -> None:
    gate = greeted()
    join(gate, NAMES[0], credit_of=10)

    for part in range(50):
        with pytest.raises(WireError) as refusal:
            gate.on_rollout(header(NAMES[0], 11 + part, 0, final=True), b"", 0.0)
        assert refusal.value.reason == "over_credit"

    assert gate.ledger.credits(NAMES[0])[1].parts == set()
    gate.on_rollout(header(NAMES[0], 0, 5), b"payload", 0.0)
    gate.on_rollout(header(NAMES[0], 1, 0, final=True), b"", 0.0)
    assert gate.ledger.alive == 5


def test_no_more_sessions_have_seats_than_there_are_and_who_has_one_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace_gate.admission.MAX_SEATS", 3)
    gate = greeted()
    for session in NAMES[:3]:
        join(gate, session)

    with pytest.raises(WireError) as refusal:
        join(gate, NAMES[3])

    assert refusal.value.reason == "no_seat"
    assert isinstance(gate.outbox.to_actors[-1][1], Leave)
    assert set(gate.roster.seats) == set(NAMES[:3])
    join(gate, NAMES[0])
    gate.on_actor_message(NAMES[1], Leave(code="goodbye", reason="").encode(), 0.0)
    join(gate, NAMES[3])
    assert len(gate.roster.seats) == 3


def test_an_account_of_all_seats_and_many_credits_can_be_read_back_from_the_journal(tmp_path: Any) -> None:
    gate = greeted(capacity=10_000)
    for number in range(roster.MAX_SEATS):
        join(gate, b"\1" + number.to_bytes(15, "big"), credit_of=1)
    journal = Journal(tmp_path / "journal")
    journal.write(gate.state())

    state = journal.read()

    assert state is not None
    restored = a_gate(capacity=10_000)
    restored.restore(state, 0.0)
    assert restored.ledger.alive == gate.ledger.alive == roster.MAX_SEATS


def test_a_gate_of_a_smaller_capacity_takes_what_its_predecessor_had_promised() -> None:
    before = greeted(capacity=40)
    for session in NAMES[:4]:
        join(before, session, credit_of=10)
    after = a_gate(capacity=13)
    after.restore(before.state(), 0.0)
    after.on_progress(progress(after, gate=bytes(16)), 0.0)

    for session in NAMES[:4]:
        for part in range(2):
            after.on_rollout(header(session, part, 5, final=part == 1), b"payload", 0.0)

    assert after.ledger.queued == 40


def test_a_learner_cannot_count_the_gate_out_of_numbers() -> None:
    gate = greeted()

    for name in ("generation", "version", "received_batch", "trained_batch", "trained"):
        fields = progress(gate).model_dump() | {name: 2**63 - 1}
        with pytest.raises(WireError, match=name):
            messages.decode(Progress, codec.encode({"schema": SCHEMA_VERSION, "kind": "PROGRESS", **fields}))
