"""The codec: msgpack-numpy's format for what is allowed, and a refusal for everything else."""

from __future__ import annotations

from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from numpy.typing import NDArray

from headrace_proto import codec
from headrace_proto.errors import WireError

arrays = st.sampled_from(sorted(codec.ARRAY_DTYPES)).flatmap(
    lambda dtype: np_st.arrays(dtype, np_st.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
)


def array_map(**changes: object) -> dict[bytes, object]:
    fields: dict[bytes, object] = {b"nd": True, b"type": "|u1", b"kind": b"", b"shape": [2], b"data": b"ab"}
    return {**fields, **{name.encode(): value for name, value in changes.items()}}


@given(arrays)
def test_arrays_survive_the_round_trip(array: NDArray[Any]) -> None:
    decoded = codec.decode(codec.encode(array))

    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@given(arrays.filter(lambda array: array.ndim > 0))
def test_msgpack_numpy_reads_and_writes_the_same_bytes(array: NDArray[Any]) -> None:
    assert codec.encode(array) == msgpack.packb(array, default=msgpack_numpy.encode)
    np.testing.assert_array_equal(msgpack.unpackb(codec.encode(array), object_hook=msgpack_numpy.decode), array)


@pytest.mark.parametrize(
    "array",
    [np.array([object()]), np.array(["text"]), np.zeros(2, np.float64), np.zeros(2, "complex64"), np.zeros(2, ">f4")],
    ids=["object", "string", "float64", "complex", "big-endian"],
)
def test_other_dtypes_are_not_sent(array: NDArray[Any]) -> None:
    with pytest.raises(WireError, match="malformed"):
        codec.encode({"array": array})


@pytest.mark.parametrize("value", [object(), {1, 2}, 1 + 2j], ids=["object", "set", "complex"])
def test_other_types_are_not_sent(value: object) -> None:
    with pytest.raises(WireError, match="cannot be sent"):
        codec.encode(value)


@pytest.mark.parametrize(
    "fields",
    [
        array_map(kind=b"O", type="|O"),
        array_map(type="|O"),
        array_map(kind=b"V", type=[["a", "|u1"]]),
        array_map(type="<f8", data=bytes(16)),
        array_map(data=b"abc"),
        array_map(data=b""),
        array_map(shape=[-2]),
        array_map(shape=[1] * 6, data=b"a"),
        array_map(shape=[2**40, 2**40]),
        array_map(shape=[True, 2]),
        array_map(shape="ab"),
        array_map(data="ab"),
        array_map(nd=False),
        array_map(extra=1),
        {b"nd": True},
        {b"complex": True, b"nd": False, b"data": "1j"},
    ],
    ids=str,
)
def test_an_array_that_lies_is_refused(fields: dict[bytes, object]) -> None:
    with pytest.raises(WireError, match="malformed"):
        codec.decode(msgpack.packb(fields))


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_plain_values_or_are_refused(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except WireError as error:
        assert error.reason == "malformed"  # noqa: PT017 both outcomes are allowed
    else:
        assert isinstance(value, int | float | str | bytes | list | dict | bool | np.ndarray | None)


def test_an_oversized_message_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError, match="at most"):
        codec.decode(memoryview(bytearray(codec.MAX_MESSAGE_BYTES + 1)))


@pytest.mark.parametrize("empty", [b"\x80", b"\x90"], ids=["maps", "lists"])
def test_a_message_cannot_hold_more_maps_and_lists_than_any_that_there_is(empty: bytes) -> None:
    inner = b"\x9f" + 15 * empty

    with pytest.raises(WireError, match="maps and lists"):
        codec.decode(b"\x95" + 5 * inner)

    assert len(codec.decode(b"\x93" + 3 * inner)) == 3


def test_extension_types_and_deep_nesting_are_refused() -> None:
    with pytest.raises(WireError, match="malformed"):
        codec.decode(msgpack.packb(msgpack.ExtType(5, b"payload")))
    with pytest.raises(WireError, match="malformed"):
        codec.decode(msgpack.packb(msgpack.ExtType(5, b"")))
    with pytest.raises(WireError, match="malformed"):
        codec.decode(b"\x91" * 100_000 + b"\x01")
