"""Reads an input as a script: each byte decides something, and when there are none left the script is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

EDGES = (-1, 2**31 - 1, 2**32, 2**53, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


class Script:
    """Decisions from bytes; all are 0 or empty once the bytes are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def goes_on(self) -> bool:
        """Whether bytes are left."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next one."""
        return (self.take(1) or b"\0")[0]

    def take(self, count: int) -> bytes:
        """The next `count`, or what is left."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def some(self) -> bytes:
        """As many as the next one says."""
        return self.take(self.byte())

    def rest(self) -> bytes:
        """All that are left."""
        return self.take(len(self._data))

    def one_of(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[self.byte() % len(choices)]

    def number(self) -> int:
        """Mostly a small one, now and then one at the edge of what a field holds."""
        byte = self.byte()
        return EDGES[byte % len(EDGES)] if byte >= 224 else byte % 32 if byte >= 128 else byte % 4
