"""The gate's account on disk, so that a restarted gate goes on with the credits that its predecessor had granted.

A log: each record has the entries that changed, and is written before any message that depends on it is sent. So what
a turn costs does not depend on how many actors there are. Once the log is several times as long as what it says, it is
written anew and replaces the old one by rename, so that SIGKILL leaves one or the other; a record that it cut short was
never acted on. Nothing is synced: it need not outlive the machine, since the actors and their transitions do not.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace_gate.account_entries import Entries, Key
from headrace_proto import SCHEMA_VERSION, codec
from headrace_proto.errors import HeadraceError, UserError, WireError

_HEAD = struct.Struct(">II")
"""Of a record: bytes of its body, and their CRC-32."""

SHORTEST_OVERGROWN_BYTES = 65_536
OVERGROWN_TIMES = 4
"""A log is written anew once it is so many times as long as it was then."""

_MOST_ITEMS = 2**24
"""Of an account: a few for each credit and seat. A peer's messages have far fewer."""


class DamagedJournalError(HeadraceError):
    """A journal that is cut short, changed, or of another schema version."""


class Journal:
    """One file that holds the gate's latest account."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + ".partial")
        self._entries: dict[Key, bytes | None] = {}
        self._log: int | None = None
        self._bytes = self._overgrown_bytes = 0

    def read(self) -> Entries | None:
        """The account last written, None if there is none; raises DamagedJournalError, UserError."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"--journal {self.path}: cannot read: {error.strerror}") from error
        entries: dict[Key, bytes | None] = {}
        try:
            for body in _bodies(data):
                entries |= _entries_of(decoded(body))
            if not entries:
                raise DamagedJournalError("it has no whole record")
            return {key: decoded(value) for key, value in entries.items() if value is not None}
        except WireError as error:
            raise DamagedJournalError(error.detail) from error

    def begin(self, entries: Entries) -> None:
        """Replace whatever is there by this account; raises OSError."""
        self._entries = {key: codec.encode(value) for key, value in entries.items()}
        self._write_anew()

    def write(self, changes: Entries) -> None:
        """Add what changed, None for what is gone; raises OSError, and then writes everything at the next call."""
        encoded = {key: None if value is None else codec.encode(value) for key, value in changes.items()}
        fresh = {key: value for key, value in encoded.items() if self._entries.get(key) != value}
        self._entries |= fresh
        if self._log is None or self._bytes > self._overgrown_bytes:
            self._write_anew()
        elif fresh:
            self._add(self._log, fresh)

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _add(self, log: int, fresh: Mapping[Key, bytes | None]) -> None:
        record = _record(fresh)
        try:
            if not os.path.samestat(os.fstat(log), self.path.stat()):
                raise FileNotFoundError("another file has taken its place")
            if os.write(log, record) < len(record):
                raise OSError("only a part of a record was written")
        except OSError:
            self.close()
            raise
        self._bytes += len(record)

    def _write_anew(self) -> None:
        self.close()
        self._entries = {key: value for key, value in self._entries.items() if value is not None}
        whole = _record(self._entries)
        self._partial.write_bytes(whole)
        self._partial.replace(self.path)
        self._log = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._bytes = len(whole)
        self._overgrown_bytes = max(SHORTEST_OVERGROWN_BYTES, OVERGROWN_TIMES * len(whole))


def _record(entries: Mapping[Key, bytes | None]) -> bytes:
    body = codec.encode({"schema": SCHEMA_VERSION, "entries": entries})
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def decoded(data: bytes) -> Any:
    """What a record holds, however large the account; raises WireError for anything else than the codec's."""
    return codec.decode(data, most_items=_MOST_ITEMS)


def _bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of all whole records; raises DamagedJournalError for one that was changed."""
    start = 0
    while start + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, start)
        start += _HEAD.size
        body = data[start : start + length]
        if len(body) < length:
            return
        if zlib.crc32(body) != checksum:
            raise DamagedJournalError("its checksum is wrong")
        yield body
        start += length


def _entries_of(record: object) -> dict[Key, bytes | None]:
    if not isinstance(record, dict) or record.get("schema") != SCHEMA_VERSION:
        raise DamagedJournalError(f"it is not of schema version {SCHEMA_VERSION}")
    entries: dict[Key, bytes | None] = record["entries"]
    return entries
