"""Ctrl-C and SIGTERM, counted: the first asks for a clean end, the second for an end at once."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupts:
    """How often a person, or whatever runs this process, has asked for its end."""

    def __init__(self) -> None:
        self.count = 0

    def install(self) -> Interrupts:
        """Count SIGINT, SIGTERM and SIGHUP from now on.

        SIGINT and SIGHUP stay ignored where they were at the start: so `nohup` and shells that run this in the
        background ask for it.
        """
        signal.signal(signal.SIGTERM, self._handle)
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
