"""What can be fuzzed, by name. A target is a module: `one_input(data)` raises for a defect, `seeds()` begin it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

TARGETS = ("decoder", "gate", "weights_blob", "checkpoint", "batch")
CORPUS = Path(__file__).parent / "corpus"


class Target(Protocol):
    """A module of this folder."""

    def one_input(self, data: bytes) -> None:
        """Try one input."""

    def seeds(self) -> list[bytes]:
        """Inputs to begin from."""


def load(name: str) -> Target:
    """Import a target."""
    return cast("Target", importlib.import_module(f"fuzzing.{name}"))


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept of a target: what reached something new, and what once found a defect."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
