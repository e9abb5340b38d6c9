"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_SECONDS = 60.0


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as the condition holds; fail if it does not within a generous time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
        time.sleep(0.01)
