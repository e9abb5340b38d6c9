"""WEIGHTS: one safetensors blob with the learner's generation, version and env_steps in its metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from headrace_proto import SCHEMA_VERSION
from headrace_proto.errors import WireError

HEADER_ALIGNMENT = 8
"""Bytes of whose multiple the length of a blob's header is, as safetensors pads it with spaces."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A published policy: network parameters by name, and where the learner stood when it published them."""

    generation: int
    version: int
    env_steps: int
    tensors: dict[str, torch.Tensor]

    @property
    def age_key(self) -> tuple[int, int]:
        """Orders weights from old to new; a restarted learner's are newer than all of its predecessor's."""
        return (self.generation, self.version)

    def encode(self) -> bytes:
        """The blob that is published: of float32, each tensor copied once.

        Nothing is trained meanwhile, and the library's own writer takes several times as long.
        """
        metadata = {
            "schema": str(SCHEMA_VERSION),
            "generation": str(self.generation),
            "version": str(self.version),
            "env_steps": str(self.env_steps),
        }
        header: dict[str, Any] = {"__metadata__": metadata}
        parts: list[memoryview] = []
        end = 0
        for name, tensor in self.tensors.items():
            part = tensor.detach().cpu().contiguous().numpy()
            assert part.dtype == np.float32
            begin, end = end, end + part.nbytes
            header[name] = {"dtype": "F32", "shape": part.shape, "data_offsets": [begin, end]}
            parts.append(part.data)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % HEADER_ALIGNMENT)
        return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def decode(blob: bytes) -> Weights:
    """Read a blob; raises WireError for one that is cut short, lies about its shapes, or lacks its metadata."""
    try:
        header_bytes = int.from_bytes(blob[:8], "little")
        metadata = json.loads(blob[8 : 8 + header_bytes])["__metadata__"]
        if metadata["schema"] != str(SCHEMA_VERSION):
            raise WireError("schema", f"weights of schema version {metadata['schema']}, expected {SCHEMA_VERSION}")
        return Weights(
            generation=int(metadata["generation"]),
            version=int(metadata["version"]),
            env_steps=int(metadata["env_steps"]),
            tensors=safetensors.torch.load(blob),
        )
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError("malformed", f"weights blob: {error}") from error
