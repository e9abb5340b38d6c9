"""WEIGHTS: one safetensors blob with the learner's generation, version and env_steps in its metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from headrace_proto import SCHEMA_VERSION
from headrace_proto.errors import WireError

MAX_HEADER_BYTES = 1024 * 1024
"""Of the JSON before the tensors; that of the largest network takes four thousand."""


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
        """The blob that is published."""
        metadata = {
            "schema": str(SCHEMA_VERSION),
            "generation": str(self.generation),
            "version": str(self.version),
            "env_steps": str(self.env_steps),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return safetensors.torch.save(tensors, metadata=metadata)


def decode(blob: bytes) -> Weights:
    """Read a blob; raises WireError for one that is cut short, lies about its shapes, or lacks its metadata."""
    header_bytes = int.from_bytes(blob[:8], "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise WireError("oversized", f"a header of {header_bytes} bytes, at most {MAX_HEADER_BYTES} are allowed")
    try:
        metadata = json.loads(blob[8 : 8 + header_bytes])["__metadata__"]
        if metadata["schema"] != str(SCHEMA_VERSION):
            raise WireError("schema", f"weights of another schema version than {SCHEMA_VERSION}")
        return Weights(
            generation=_count(metadata, "generation"),
            version=_count(metadata, "version"),
            env_steps=_count(metadata, "env_steps"),
            tensors=safetensors.torch.load(blob),
        )
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:  # torch's are RuntimeError
        raise WireError("malformed", f"weights blob: {error}") from error


def _count(metadata: dict[str, Any], name: str) -> int:
    """A number of the metadata, which are strings."""
    text = metadata[name]
    if not isinstance(text, str) or not text.isdecimal() or len(text) > 19 or int(text) >= 2**63:
        raise ValueError(f"{name} is not a number below 2^63")
    return int(text)
