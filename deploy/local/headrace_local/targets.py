"""`targets.json`: where every process's metrics are, in the form of Prometheus's file_sd."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from headrace_local.processes import ProcessSpecification


def address(specification: ProcessSpecification) -> str | None:
    """host:port of a process's metrics, None before it has said so."""
    try:
        return specification.address_file.read_text().strip() or None
    except FileNotFoundError:
        return None


class TargetsFile:
    """Rewrites the file, whole or not at all, whenever an address has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: str | None = None

    def update(self, specifications: Iterable[ProcessSpecification]) -> None:
        """Write the processes that have an address."""
        found = ((specification, address(specification)) for specification in specifications)
        groups = [{"targets": [where], "labels": dict(process.labels)} for process, where in found if where]
        text = json.dumps(groups, indent=2) + "\n"
        if text == self._written:
            return
        partial = self._path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self._path)
        self._written = text
