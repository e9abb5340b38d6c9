"""What every test begins with."""

from __future__ import annotations

import signal

import pytest
import structlog

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has it ignored, and what they start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> None:
    """No test's logging depends on the one before it: services set up structlog for their whole process."""
    structlog.reset_defaults()
