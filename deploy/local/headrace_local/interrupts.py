"""Ctrl-C and SIGTERM, counted: the first asks for a clean end, the second for an end at once."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupts:
    """How often a person, or whatever runs this process, has asked for its end."""

    def __init__(self) -> None:
        self.count = 0

    def install(self) -> Interrupts:
        """Count SIGINT, SIGTERM and SIGHUP from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
