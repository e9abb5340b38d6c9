"""The gate's account on disk, so that a restarted gate goes on with the credits that its predecessor had granted.

Written whole before any message that depends on it is sent, and replaced by rename, so that SIGKILL leaves the old one
or the new. It is not synced: it need not outlive the machine, since the actors and their transitions do not either.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from headrace_proto import SCHEMA_VERSION, codec
from headrace_proto.errors import HeadraceError, UserError, WireError

_CHECKSUM_BYTES = 4
_MOST_ITEMS = 2**24
"""Of an account: a few for each credit and seat. A peer's messages have far fewer."""


class DamagedJournalError(HeadraceError):
    """A journal that is cut short, changed, or of another schema version."""


class Journal:
    """One file that holds the gate's latest state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._written = b""

    def read(self) -> dict[str, Any] | None:
        """The state last written, None if there is none; raises DamagedJournalError, UserError."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"--journal {self.path}: cannot read: {error.strerror}") from error
        checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        if zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise DamagedJournalError("its checksum is wrong")
        try:
            record = codec.decode(body, most_items=_MOST_ITEMS)
        except WireError as error:
            raise DamagedJournalError(error.detail) from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA_VERSION:
            raise DamagedJournalError(f"it is not of schema version {SCHEMA_VERSION}")
        state: dict[str, Any] = record["state"]
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state if it changed; raises OSError, e.g. for a full disk."""
        body = codec.encode({"schema": SCHEMA_VERSION, "state": state})
        if body == self._written:
            return
        self._partial.write_bytes(zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body)
        self._partial.replace(self.path)
        self._written = body
