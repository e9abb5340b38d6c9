"""Strict msgpack: plain values and numpy arrays in msgpack-numpy's format, and nothing that can run code.

An array is the map {b"nd": True, b"type": dtype string, b"kind": b"", b"shape": [...], b"data": bytes}, the bytes in
C order, so that msgpack-numpy on the other side reads what is written here and the reverse. The decoder accepts only
the dtypes of `ARRAY_DTYPES`; object arrays, which msgpack-numpy pickles, are refused in both directions.

A byte can stand for an empty map, which takes 64 in memory, so maps and lists are counted while they are decoded.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from headrace_proto.errors import WireError

ARRAY_DTYPES = frozenset({"|u1", "|b1", "<i4", "<f4"})
MAX_ARRAY_DIMENSIONS = 5
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_ITEMS = 64
"""Most items of a map or list of a message, and most maps and lists in it."""

_ARRAY_KEYS = {b"nd", b"type", b"kind", b"shape", b"data"}


def encode(value: object) -> bytes:
    """Encode plain values and numpy arrays; raises WireError for any other type and for other dtypes."""
    packed = msgpack.packb(value, default=_array_to_map, use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def decode(data: bytes | memoryview, most_bytes: int = MAX_MESSAGE_BYTES, most_items: int = MAX_ITEMS) -> Any:
    """Decode one message; raises WireError("oversized") or, for anything else against the specification, "malformed".

    `most_items` bounds each map and list, and how many of them there are.
    """
    if len(data) > most_bytes:
        raise WireError("oversized", f"{len(data)} bytes, at most {most_bytes} are allowed")
    containers = _Containers(most_items)
    try:
        return msgpack.unpackb(
            data,
            object_hook=containers.map,
            list_hook=containers.list,
            raw=False,
            strict_map_key=True,
            max_array_len=most_items,
            max_map_len=most_items,
            ext_hook=_refuse_extension,
            max_ext_len=0,  # which lets an empty one through
        )
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError("malformed", f"not msgpack: {error}") from error


class _Containers:
    """Counts the maps and lists of one message as they are decoded."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def map(self, fields: dict[Any, Any]) -> Any:
        """A map, or the array that it stands for."""
        self._count()
        return _map_to_array(fields)

    def list(self, items: list[Any]) -> list[Any]:
        """A list as it is."""
        self._count()
        return items

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise WireError("malformed", f"more than {self._most} maps and lists")


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError("malformed", f"an extension of type {code}")


def _array_to_map(value: object) -> object:
    if not isinstance(value, np.ndarray):
        raise WireError("malformed", f"a {type(value).__name__} cannot be sent")
    if value.dtype.str not in ARRAY_DTYPES:
        raise WireError("malformed", f"dtype {value.dtype.str} cannot be sent, only {sorted(ARRAY_DTYPES)}")
    return {
        b"nd": True,
        b"type": value.dtype.str,
        b"kind": b"",
        b"shape": value.shape,
        b"data": value.tobytes(),
    }


def _map_to_array(fields: dict[Any, Any]) -> Any:
    if b"nd" not in fields:
        return fields
    if set(fields) != _ARRAY_KEYS or fields[b"nd"] is not True or fields[b"kind"] != b"":
        raise WireError("malformed", "an array needs exactly nd, type, kind, shape and data, and no kind")
    return _array(fields[b"type"], fields[b"shape"], fields[b"data"])


def _array(dtype: object, shape: object, data: object) -> NDArray[Any]:
    if not isinstance(dtype, str) or dtype not in ARRAY_DTYPES:
        raise WireError("malformed", f"dtype {dtype!r} is not one of {sorted(ARRAY_DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_ARRAY_DIMENSIONS:
        raise WireError("malformed", f"an array has at most {MAX_ARRAY_DIMENSIONS} dimensions")
    if not all(type(size) is int and 0 <= size <= MAX_MESSAGE_BYTES for size in shape):
        raise WireError("malformed", f"shape {shape!r} is not a list of sizes")
    if not isinstance(data, bytes):
        raise WireError("malformed", "an array's data are bytes")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise WireError(
            "malformed", f"an array of shape {shape} and dtype {dtype} has {expected} bytes, not {len(data)}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape)
