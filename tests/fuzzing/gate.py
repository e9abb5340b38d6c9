"""The real gate under arbitrary messages from arbitrary peers, among valid ones: it stands, and its account closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger_model.invariants import account_closes, places_agree
from made_up import a_run

from fuzzing.script import Script
from headrace_gate.gate import Addresses, Gate, Limits
from headrace_gate.roster import MAX_SEATS
from headrace_proto import SCHEMA_VERSION, codec, messages
from headrace_proto.errors import WireError
from headrace_proto.messages import MAX_CONTROL_BYTES, Progress
from headrace_proto.metrics import REFUSAL_REASONS, REJECTION_REASONS

IDENTITIES = (*(bytes([name]) * messages.SESSION_BYTES for name in b"ABC"), b"", b"\0short", b"x" * 17)
LEARNERS = tuple(bytes([name]) * messages.SESSION_BYTES for name in b"LMN")
RUNS = (a_run(), a_run(name="other", batch_size=3), a_run(deterministic=True))
LEASE_SECONDS = 4.0
LONGEST_SCRIPT = 200
"""Steps of an input; a longer one says no more."""


class Siege:
    """A gate, the time, and what its learner would honestly say."""

    def __init__(self, script: Script, gate_class: type[Gate] = Gate) -> None:
        self.script, self.gate_class = script, gate_class
        self.now = 100.0
        self.capacity = self.most_alive = 16
        self.gates = 0
        self.run = RUNS[0]
        self.received = self.trained = 0
        self.sent: dict[int, int] = {}
        self.gate = self._new_gate()

    def step(self) -> None:
        """One thing happens, and the gate still stands."""
        try:
            self.script.one_of(STEPS)(self)
        except WireError as error:
            assert error.reason in REFUSAL_REASONS, error.reason
        self._require_sound()

    def time_passes(self) -> None:
        """Up to twice a lease, and the gate turns."""
        self.now += self.script.byte() / 32
        self.gate.tick(self.now)
        for header, batch in self.gate.outbox.to_learner:
            if batch is not None:
                self.received = max(self.received, header.batch)
                self.sent[header.batch] = header.count

    def actor_says(self) -> None:
        """A control message with numbers of any size."""
        number = self.script.number
        said: tuple[tuple[str, dict[str, Any]], ...] = (
            ("JOIN", {"host": "h"}),
            ("CREDIT", {"credit": number(), "count": number(), "finished": number()}),
            ("HEARTBEAT", {"finished": number(), "env_steps": number(), "waiting_for": ""}),
            ("LEAVE", {"code": "goodbye", "reason": ""}),
        )
        kind, fields = self.script.one_of(said)
        self.gate.on_actor_message(self.script.one_of(IDENTITIES), _message(kind, fields), self.now)

    def actor_joins_and_asks(self) -> None:
        """What an honest one does first."""
        session, credit = self.script.one_of(IDENTITIES[:3]), 1 + self.script.byte() % 4
        asks = {"credit": credit, "count": 5, "finished": credit - 1}
        self.gate.on_actor_message(session, _message("JOIN", {"host": "h"}), self.now)
        self.gate.on_actor_message(session, _message("CREDIT", asks), self.now)
        self.gate.tick(self.now)

    def actor_sends_anything(self) -> None:
        """Bytes in place of a control message."""
        self.gate.on_actor_message(self.script.one_of(IDENTITIES), self.script.some(), self.now)

    def rollout_comes(self) -> None:
        """A header with numbers of any size, a payload of any length."""
        number = self.script.number
        fields = {
            "session": self.script.one_of(IDENTITIES),
            "actor": 0,
            **{name: number() for name in ("credit", "part", "count", "generation", "weights_version")},
            "final": bool(self.script.byte() % 2),
        }
        payload = bytes(self.script.one_of((0, 10, 10_000)))
        self.gate.on_rollout(_message("TRANSITIONS", fields), payload, self.now)

    def owed_rollout_comes(self) -> None:
        """One that an honest actor would send against a credit that is open."""
        for session in self.gate.ledger.sessions:
            for number, credit in self.gate.ledger.credits(session).items():
                count = min(credit.remaining, self.run.rollout_length)
                numbers = {"credit": number, "part": len(credit.parts), "count": count, "final": True}
                weights = {"generation": credit.weights[0], "weights_version": credit.weights[1]}
                header = _message("TRANSITIONS", {"session": session, "actor": 0, **numbers, **weights})
                self.gate.on_rollout(header, b"payload", self.now)
                return

    def rollout_of_anything_comes(self) -> None:
        """Bytes in place of a header."""
        self.gate.on_rollout(self.script.some(), b"", self.now)

    def learner_reports(self) -> None:
        """What it would honestly say, all that it was sent being trained."""
        self.trained += sum(self.sent.values())
        self.sent.clear()
        self._progress({})

    def learner_lies(self) -> None:
        """With numbers of any size, another name, another run."""
        number = self.script.number
        self.run = self.script.one_of(RUNS)
        named = {name: number() for name in self.script.one_of(LIES)}
        self._progress({**named, "learner": self.script.one_of(LEARNERS), "finished": self.script.byte() > 250})

    def learner_sends_anything(self) -> None:
        """Bytes in place of Progress."""
        self.gate.on_progress(messages.decode(Progress, self.script.some()), self.now)

    def gate_restarts(self) -> None:
        """From its journal, perhaps with another capacity."""
        record = codec.decode(codec.encode(self.gate.state()), most_items=2**24)
        self.capacity = self.script.one_of((16, 16, 40, 8))
        self.gate = self._new_gate()
        self.gate.restore(record, self.now)
        self.most_alive = max(self.capacity, self.gate.ledger.alive)

    def _progress(self, changes: dict[str, Any]) -> None:
        fields = {
            "learner": LEARNERS[0],
            "gate": self.gate.identity,
            "generation": self.gate.learner.generation,
            "version": self.received,
            "published_version": self.received,
            "env_steps": 0,
            "received_batch": self.received,
            "trained_batch": self.received,
            "trained": self.trained,
            "rejected": {},
            "run": self.run.model_dump(),
            "waiting_for": "batch",
            "finished": False,
            **changes,
        }
        self.gate.on_progress(messages.decode(Progress, _message("PROGRESS", fields)), self.now)

    def _new_gate(self) -> Gate:
        self.gates += 1
        limits = Limits(self.capacity, 4, LEASE_SECONDS)
        return self.gate_class(
            self.gates.to_bytes(messages.SESSION_BYTES, "big"), limits, Addresses("ipc://t", "ipc://w")
        )

    def _require_sound(self) -> None:
        gate = self.gate
        assert gate.ledger.alive <= self.most_alive, "more transitions are alive than the capacity"
        assert account_closes(gate), "the account does not close"
        assert places_agree(gate), "the ledger and what is queued, untrained or owed differ"
        assert set(gate.ledger.rejected) <= set(REJECTION_REASONS)
        assert min(gate.ledger.outstanding, gate.ledger.queued, gate.ledger.delivered) >= 0
        assert len(gate.roster.seats) <= MAX_SEATS
        for session in gate.ledger.sessions:
            assert all(len(credit.parts) <= credit.count + 1 for credit in gate.ledger.credits(session).values())
        said = [message for _, message in gate.outbox.to_actors] + [header for header, _ in gate.outbox.to_learner]
        assert all(len(message.encode()) <= MAX_CONTROL_BYTES for message in said)
        gate.outbox.clear()
        self.most_alive = max(self.capacity, gate.ledger.alive)


LIES = (
    ("generation", "version"),
    ("received_batch", "trained_batch"),
    ("trained", "published_version", "env_steps"),
    ("generation", "version", "published_version", "env_steps", "received_batch", "trained_batch", "trained"),
)
STEPS: tuple[Callable[[Siege], None], ...] = (
    Siege.time_passes,
    Siege.actor_joins_and_asks,
    Siege.owed_rollout_comes,
    Siege.learner_reports,
    Siege.actor_says,
    Siege.rollout_comes,
    Siege.learner_lies,
    Siege.gate_restarts,
    Siege.actor_sends_anything,
    Siege.rollout_of_anything_comes,
    Siege.learner_sends_anything,
)


def one_input(data: bytes, gate_class: type[Gate] = Gate) -> None:
    """A learner is met, and then the script decides; raises AssertionError where something does not hold."""
    siege = Siege(Script(data), gate_class)
    siege.learner_reports()
    siege.learner_reports()
    for _ in range(LONGEST_SCRIPT):
        if not siege.script.goes_on:
            break
        siege.step()


def seeds() -> list[bytes]:
    """Honest rounds, with each other step after them."""
    honest = bytes([1, 0, 0, 2, 2, 0, 8, 3, 1, 1, 1, 2, 0, 8, 3])
    join = _message("JOIN", {"host": "h"})
    return [
        honest * 3,
        *(honest + bytes([step]) + bytes(range(12)) for step in range(4, 8)),
        honest + bytes([8, 0, len(join)]) + join,
    ]


def _message(kind: str, fields: dict[str, Any]) -> bytes:
    try:
        return codec.encode({"schema": SCHEMA_VERSION, "kind": kind, **fields})
    except OverflowError as error:  # no number that msgpack has
        raise WireError("malformed", str(error)) from error
