"""`targets.json`: where every process's metrics are, in the form of Prometheus's file_sd."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace_local.processes import ProcessSpecification
from headrace_proto import whole_file


def address(specification: ProcessSpecification) -> str | None:
    """host:port of a process's metrics, None before it has said so."""
    try:
        return specification.address_file.read_text().strip() or None
    except OSError:
        return None


class TargetsFile:
    """Rewrites the file, whole or not at all, whenever an address has changed."""

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        """`warn` is told once that the file cannot be written, which ends nothing: it is for whoever watches."""
        self._path = path
        self._warn = warn
        self._written: str | None = None
        self._has_failed = False

    def update(self, specifications: Iterable[ProcessSpecification]) -> None:
        """Write the processes that have an address; tried again at the next call where it fails."""
        found = ((specification, address(specification)) for specification in specifications)
        groups = [{"targets": [where], "labels": dict(process.labels)} for process, where in found if where]
        text = json.dumps(groups, indent=2) + "\n"
        if text == self._written:
            return
        try:
            whole_file.write(self._path, text)
        except OSError as error:
            if not self._has_failed:
                self._warn(f"{self._path}: cannot be written: {error.strerror}; tried again until it can")
            self._has_failed = True
        else:
            self._written, self._has_failed = text, False
