"""The gate's account on disk, so that a restarted gate goes on with the credits that its predecessor had granted.

Written whole before any message that depends on it is sent, and replaced by rename, so that SIGKILL leaves the old one
or the new. It is not synced: it need not outlive the machine, since the actors and their transitions do not either.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from headrace_proto import SCHEMA_VERSION, codec
from headrace_proto.errors import UserError, WireError


class Journal:
    """One file that holds the gate's latest state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._written = b""

    def read(self) -> dict[str, Any] | None:
        """The state last written; None if there is none, or it is damaged or of another schema."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"--journal {self._path}: cannot read: {error.strerror}") from error
        try:
            record = codec.decode(data[4:])
        except WireError:
            return None
        if zlib.crc32(data[4:]) != int.from_bytes(data[:4], "big") or record["schema"] != SCHEMA_VERSION:
            return None
        state: dict[str, Any] = record["state"]
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state if it changed; raises UserError if the folder cannot be written."""
        body = codec.encode({"schema": SCHEMA_VERSION, "state": state})
        if body == self._written:
            return
        try:
            self._partial.write_bytes(zlib.crc32(body).to_bytes(4, "big") + body)
            self._partial.replace(self._path)
        except OSError as error:
            raise UserError(f"--journal {self._path}: cannot write: {error.strerror}; name a writable file") from error
        self._written = body
