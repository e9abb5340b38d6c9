"""The messages that cross Headrace's sockets, as frozen models with one line each for every field.

Control messages are one msgpack frame. `TRANSITIONS` and `BATCH` are several frames; see `proto/README.md`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace_proto import SCHEMA_VERSION, codec
from headrace_proto.errors import WireError
from headrace_proto.specification import RunSpecification

SESSION_BYTES = 16
MAX_CONTROL_BYTES = 16 * 1024
"""Of a control message or a header; the longest that there are take two thousand."""

PROGRESS_TOPIC = b"PROGRESS"
WEIGHTS_TOPIC = b"WEIGHTS"

Session = bytes
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Counted = Annotated[int, Field(ge=0, lt=2**62)]
"""What the other side counts on from: its successors are still a `Count`."""


class Message(BaseModel):
    """Base of all messages: unknown fields and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: ClassVar[str]

    def encode(self) -> bytes:
        """The msgpack map of the fields, with `schema` and `kind`."""
        return codec.encode({"schema": SCHEMA_VERSION, "kind": self.kind, **self.model_dump()})


MessageT = TypeVar("MessageT", bound=Message)


class Join(Message):
    """Actor to gate: take me in. The session, 16 random bytes, is the routing id of the actor's DEALER."""

    kind: ClassVar[str] = "JOIN"
    host: str = Field(max_length=255)


class Welcome(Message):
    """Gate to actor: who you are and everything you need to play."""

    kind: ClassVar[str] = "WELCOME"
    actor: Count
    life: Count
    lease_seconds: float = Field(gt=0)
    transitions_address: str = Field(max_length=255)
    weights_address: str = Field(max_length=255)
    run: RunSpecification


class CreditRequest(Message):
    """Actor to gate: I want `count` transitions as my credit number `credit`. Repeated until it is granted."""

    kind: ClassVar[str] = "CREDIT"
    credit: Positive
    count: Positive
    finished: Count


class CreditGrant(Message):
    """Gate to actor: generate up to `count` transitions, with weights at least this new."""

    kind: ClassVar[str] = "CREDIT"
    credit: Positive
    count: Positive
    generation: Count
    weights_version: Count


class ActorHeartbeat(Message):
    """Actor to gate: I live. `finished` is the highest credit that I will send nothing more for."""

    kind: ClassVar[str] = "HEARTBEAT"
    finished: Count
    env_steps: Count
    waiting_for: str = Field(max_length=64)


class GateHeartbeat(Message):
    """Gate to actor: I know you. `waiting_for` says what the gate itself waits for, empty if nothing."""

    kind: ClassVar[str] = "HEARTBEAT"
    waiting_for: str = Field(max_length=64)


class Leave(Message):
    """Either way: this session ends. An actor that gets `unknown` joins again; `finished` and `schema` are final."""

    kind: ClassVar[str] = "LEAVE"
    code: Literal["goodbye", "unknown", "finished", "schema", "not_ready"]
    reason: str = Field(max_length=1000)


class RolloutHeader(Message):
    """First frame of TRANSITIONS: all that the gate needs to know of a rollout.

    `part` counts the rollouts sent against one credit, from 0; `final` marks the last, and what the credit has left
    over goes back.
    """

    kind: ClassVar[str] = "TRANSITIONS"
    session: Session = Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)
    actor: Count
    credit: Positive
    part: Count
    final: bool
    count: Count
    generation: Count
    weights_version: Count


class BatchHeader(Message):
    """First frame of BATCH: `rollouts` pairs of frames follow. With no rollouts it greets a learner or a new gate's.

    `gate` is the gate process, 16 random bytes. Once greeted by a gate, a learner drops what another gate had sent.
    """

    kind: ClassVar[str] = "BATCH"
    gate: Session = Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)
    learner: Session = Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)
    generation: Count
    batch: Count
    rollouts: Count
    count: Count
    version: Count
    capacity: Positive
    straggler_updates: Positive


class Progress(Message):
    """Learner to gate: how far it is. Cumulative, so that a lost one is made good by the next.

    `gate` is the gate that greeted it last, zeros before any did. `received_batch` is the highest batch number that
    came from a gate, `trained_batch` the highest that the learner is done with; batches are trained in order.
    `trained` and `rejected` count this learner's transitions since its start: trained, and refused by reason.
    """

    kind: ClassVar[str] = "PROGRESS"
    learner: Session = Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)
    gate: Session = Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)
    generation: Counted
    version: Counted
    published_version: Counted
    env_steps: Counted
    received_batch: Counted
    trained_batch: Counted
    trained: Counted
    rejected: dict[str, Count] = Field(max_length=32)
    run: RunSpecification
    waiting_for: str = Field(max_length=64)
    finished: bool


def decode_kind(data: bytes) -> tuple[str, dict[str, Any]]:
    """Kind and fields of a message; raises WireError: "schema" for another schema version, "oversized", "malformed"."""
    fields = codec.decode(data, MAX_CONTROL_BYTES)
    if not isinstance(fields, dict):
        raise WireError("malformed", "a message is a map")
    schema = fields.pop("schema", None)
    if type(schema) is not int or schema != SCHEMA_VERSION:
        spoken = f"schema version {schema}" if type(schema) is int else "no schema version"
        raise WireError("schema", f"the peer speaks {spoken}, this side {SCHEMA_VERSION}: run the same release of both")
    kind = fields.pop("kind", None)
    if not isinstance(kind, str):
        raise WireError("malformed", "a message names its kind")
    return kind, fields


def parse(model: type[MessageT], fields: dict[str, Any]) -> MessageT:
    """Validate the fields of a message; raises WireError("malformed")."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WireError("malformed", f"{model.kind} field {where}: {first['msg']}") from error


def decode(model: type[MessageT], data: bytes) -> MessageT:
    """Decode a message whose kind is known; raises WireError."""
    kind, fields = decode_kind(data)
    if kind != model.kind:
        raise WireError("malformed", f"expected {model.kind}, got {kind!r}")
    return parse(model, fields)
