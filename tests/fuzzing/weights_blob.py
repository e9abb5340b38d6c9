"""What an actor reads as weights: any blob is a policy's tensors, or a WireError."""

from __future__ import annotations

import json

import torch
from wire.test_golden_bytes import GOLDEN

from fuzzing.script import Script
from headrace_proto import SCHEMA_VERSION, weights
from headrace_proto.errors import WireError

REASONS = {"malformed", "schema", "oversized"}
METADATA = {"schema": str(SCHEMA_VERSION), "generation": "1", "version": "2", "env_steps": "3"}


def one_input(data: bytes) -> None:
    """The first byte says whether what follows is a blob, or the tensors of one: a JSON header and data after a NUL."""
    script = Script(data)
    is_blob, rest = script.byte() % 2 == 0, script.rest()
    blob = rest if is_blob else _blob_of(rest)
    try:
        read = weights.decode(blob)
    except WireError as error:
        assert error.reason in REASONS, error.reason
        return
    assert all(0 <= number < 2**63 for number in (read.generation, read.version, read.env_steps))
    for tensor in read.tensors.values():
        assert tensor.numel() * tensor.element_size() <= len(rest)
        torch.equal(tensor, tensor)


def seeds() -> list[bytes]:
    """A whole blob, and headers that are true and that lie."""
    blob = bytes.fromhex(GOLDEN["weights"])
    return [
        b"\0" + blob,
        b"\0" + blob[: len(blob) // 2],
        *(b"\1" + header_of(kind, shape, size) for kind, shape, size in TENSORS),
        b"\0" + blob_of({"__metadata__": {**METADATA, "generation": float("inf")}}),
    ]


TENSORS: tuple[tuple[str, list[int], int], ...] = (
    ("F32", [2, 1], 8),
    ("F32", [3, 1], 8),
    ("F32", [0, 2**62, 2**62], 0),
    ("BOOL", [1], 1),
    ("F4", [2], 1),
    ("F6_E2M3", [4], 3),
)
"""Dtype and shape that a header claims, and the bytes that there are."""


def header_of(dtype: str, shape: list[int], size: int) -> bytes:
    """A header of one tensor without metadata, a NUL, the data."""
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode() + b"\0" + bytes(size)


def blob_of(header: object, data: bytes = b"") -> bytes:
    """A blob of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _blob_of(rest: bytes) -> bytes:
    header, _, data = rest.partition(b"\0")
    metadata = json.dumps(METADATA).encode()
    return blob_of(b'{"__metadata__":' + metadata + b"," + header.lstrip()[1:], data)
