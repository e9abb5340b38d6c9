"""What a peer may not send: each message is refused for the field that is wrong, and never raises anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.test_golden_bytes import GOLDEN, MESSAGES, ROLLOUT, RUN

from headrace_proto import SCHEMA_VERSION, codec, messages, rollouts, sockets, weights
from headrace_proto.errors import WireError
from headrace_proto.messages import CreditRequest, Progress, RolloutHeader
from headrace_proto.rollouts import Rollout
from headrace_proto.specification import RunSpecification

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**63)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [("credit", 0), ("credit", "7"), ("credit", 7.0), ("count", -1), ("count", True), ("surprise", 1)],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    fields = codec.decode(MESSAGES["credit_request"].encode()) | {field: value}

    with pytest.raises(WireError, match=f"CREDIT field {field}"):
        messages.decode(CreditRequest, codec.encode(fields))


@given(name=st.sampled_from(sorted(MESSAGES)), field=st.integers(0, 20), value=plain)
def test_any_value_in_any_field_is_taken_or_refused(name: str, field: int, value: object) -> None:
    fields = codec.decode(MESSAGES[name].encode())
    fields[sorted(fields)[field % len(fields)]] = value

    try:
        messages.decode(type(MESSAGES[name]), codec.encode(fields))
    except WireError as error:
        assert error.reason in {"malformed", "schema"}  # noqa: PT017 both outcomes are allowed


@given(field=st.sampled_from(sorted(rollouts.FIELDS)), value=plain)
def test_any_value_in_any_field_of_a_rollout_is_taken_or_refused(field: str, value: object) -> None:
    fields = codec.decode(ROLLOUT.encode()) | {field: value}

    try:
        rollouts.decode(codec.encode(fields), RUN, count=2)
    except WireError as error:
        assert error.reason in {"malformed", "not_finite"}  # noqa: PT017 both outcomes are allowed


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("frames", np.zeros((5, 2, 3), np.uint8), "malformed"),
        ("frames", np.zeros((6, 2, 3), np.float32), "malformed"),
        ("actions", np.array([6, 0], np.int32), "malformed"),
        ("actions", np.array([-1, 0], np.int32), "malformed"),
        ("behaviour_probabilities", np.array([-0.5, 0], np.float32), "malformed"),
        ("behaviour_probabilities", np.array([0, 1.5], np.float32), "malformed"),
        ("behaviour_values", np.array([0], np.float32), "malformed"),
        ("behaviour_values", None, "malformed"),
        ("rewards", np.array([np.nan, 0], np.float32), "not_finite"),
        ("rewards", np.array([np.inf, 0], np.float32), "not_finite"),
        ("rewards", np.array([1.5, 0], np.float32), "malformed"),
        ("rewards", np.array([0, -3e38], np.float32), "malformed"),
        ("terminated", True, "malformed"),
        ("n_step", 1, "malformed"),
        ("episode_return", None, "malformed"),
        ("epsilon", 1.5, "malformed"),
    ],
)
def test_a_rollout_that_does_not_fit_its_run_is_refused(field: str, value: object, reason: str) -> None:
    fields = codec.decode(ROLLOUT.encode()) | {field: value}

    with pytest.raises(WireError) as refusal:
        rollouts.decode(codec.encode(fields), RUN, count=2)

    assert refusal.value.reason == reason


LSTM_RUN = RUN.model_copy(update={"head": "policy", "lstm": True})
REMEMBERED = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)


def of_a_run(rollout: Rollout, run: RunSpecification) -> Rollout:
    """The rollout as one of the run's head: a policy has no values."""
    return rollout if run.head == "values" else replace(rollout, behaviour_values=None)


def test_a_rollout_with_values_is_refused_where_the_run_has_a_policy() -> None:
    with pytest.raises(WireError, match="behaviour_values is nil"):
        rollouts.decode(ROLLOUT.encode(), RUN.model_copy(update={"head": "policy"}), count=2)


def test_a_rollout_brings_what_an_lstm_remembered() -> None:
    payload = replace(of_a_run(ROLLOUT, LSTM_RUN), recurrent_state=REMEMBERED).encode()

    decoded = rollouts.decode(payload, LSTM_RUN, count=2)

    np.testing.assert_array_equal(decoded.recurrent_state, REMEMBERED)
    assert len(payload) <= rollouts.max_payload_bytes(LSTM_RUN)


@pytest.mark.parametrize(
    ("run", "state", "reason"),
    [
        (RUN, REMEMBERED, "oversized"),
        (RUN, REMEMBERED[:, :9], "malformed"),
        (LSTM_RUN, None, "malformed"),
        (LSTM_RUN, REMEMBERED[:, :255], "malformed"),
        (LSTM_RUN, REMEMBERED.astype(np.int32), "malformed"),
        (LSTM_RUN, np.full_like(REMEMBERED, np.nan), "not_finite"),
        (LSTM_RUN, np.full_like(REMEMBERED, -3e38), "malformed"),
    ],
)
def test_a_recurrent_state_that_does_not_fit_the_run_is_refused(run: Any, state: Any, reason: str) -> None:
    fields = codec.decode(of_a_run(ROLLOUT, run).encode()) | {"recurrent_state": state}

    with pytest.raises(WireError) as refusal:
        rollouts.decode(codec.encode(fields), run, count=2)

    assert refusal.value.reason == reason


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_a_count_that_is_not_the_payloads_is_refused(count: int) -> None:
    with pytest.raises(WireError, match="malformed"):
        rollouts.decode(ROLLOUT.encode(), RUN, count)


def test_a_whole_rollout_fits_the_size_limit() -> None:
    assert len(ROLLOUT.encode()) <= rollouts.max_payload_bytes(RUN)


@given(st.integers(0, len(GOLDEN["weights"]) // 2 - 1))
def test_a_weights_blob_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(WireError):
        weights.decode(bytes.fromhex(GOLDEN["weights"])[:length])


@pytest.mark.parametrize("field", ["schema", "kind"])
@pytest.mark.parametrize("value", [np.zeros(2, np.int32), 1.0, True, None, [1], {"a": 1}, 2**64 - 1], ids=repr)
def test_a_schema_or_kind_of_another_type_is_refused(field: str, value: object) -> None:
    fields = codec.decode(MESSAGES["join"].encode()) | {field: value}

    with pytest.raises(WireError, match=r"malformed|schema"):
        messages.decode_kind(codec.encode(fields))


def test_no_integer_is_larger_than_what_a_signed_64_bit_one_holds() -> None:
    fields = codec.decode(MESSAGES["rollout_header"].encode()) | {"weights_version": 2**63}

    with pytest.raises(WireError, match="weights_version"):
        messages.decode(RolloutHeader, codec.encode(fields))


def test_a_weights_blob_with_a_deeply_nested_header_is_refused() -> None:
    header = b"[" * 100_000

    with pytest.raises(WireError):
        weights.decode(len(header).to_bytes(8, "little") + header)


def blob_of(tensors: dict[str, object], data: bytes = b"", **metadata: object) -> bytes:
    told = {"schema": str(SCHEMA_VERSION), "generation": "1", "version": "2", "env_steps": "3", **metadata}
    header = json.dumps({"__metadata__": told, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header + data


def a_tensor(dtype: str, shape: list[int], size: int) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


@pytest.mark.parametrize(
    "blob",
    [
        blob_of(a_tensor("F32", [3], 8), bytes(8)),
        blob_of(a_tensor("F32", [2], 8), bytes(4)),
        blob_of(a_tensor("F32", [2], 8), bytes(12)),
        blob_of(a_tensor("F32", [2**40], 8), bytes(8)),
        blob_of(a_tensor("F32", [0, 2**62, 2**62], 0)),
        blob_of(a_tensor("F4", [2], 1), bytes(1)),
        blob_of({}, generation=float("inf")),
        blob_of({}, generation="-1"),
        blob_of({}, version="9" * 4000),
        blob_of({}, env_steps=str(2**63)),
        (2**62).to_bytes(8, "little") + b"{}",
    ],
    ids=[
        "longer",
        "cut",
        "more",
        "huge",
        "strides",
        "half a byte",
        "infinite",
        "negative",
        "long",
        "63 bits",
        "header",
    ],
)
def test_a_weights_blob_that_lies_is_refused(blob: bytes) -> None:
    with pytest.raises(WireError, match=r"malformed|oversized"):
        weights.decode(blob)


def test_a_blob_that_does_not_lie_is_read() -> None:
    read = weights.decode(blob_of(a_tensor("F32", [2], 8), bytes(8)))

    assert (read.generation, read.version, read.env_steps, read.tensors["a"].tolist()) == (1, 2, 3, [0.0, 0.0])


@pytest.mark.parametrize("shape", [None, 2, {"b": 1}, [[2]], "2", [2.0]], ids=repr)
def test_weights_whose_header_has_shapes_that_are_none_are_refused(shape: object) -> None:
    blob = blob_of({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 8]}}, bytes(8))

    with pytest.raises(WireError, match="malformed"):
        weights.decode(blob)


def test_a_control_message_beyond_its_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(WireError) as refusal:
        messages.decode_kind(bytes(messages.MAX_CONTROL_BYTES + 1))

    assert refusal.value.reason == "oversized"


def test_messages_of_other_kinds_are_not_confused() -> None:
    with pytest.raises(WireError, match="expected PROGRESS"):
        messages.decode(Progress, MESSAGES["join"].encode())
    with pytest.raises(WireError, match="a message is a map"):
        messages.decode(RolloutHeader, codec.encode([1, 2]))


@pytest.mark.parametrize(
    ("address", "by", "expected"),
    [
        ("tcp://*:5555", "tcp://gate:5556", "tcp://gate:5555"),
        ("tcp://0.0.0.0:5555", "tcp://10.0.0.1:5556", "tcp://10.0.0.1:5555"),
        ("tcp://learner:5558", "tcp://gate:5556", "tcp://learner:5558"),
        ("ipc:///tmp/a", "ipc:///tmp/b", "ipc:///tmp/a"),
    ],
)
def test_a_wildcard_address_is_reached_by_the_gates_host(address: str, by: str, expected: str) -> None:
    assert sockets.reachable(address, by) == expected
