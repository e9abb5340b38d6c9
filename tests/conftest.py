"""What every test begins with."""

from __future__ import annotations

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> None:
    """No test's logging depends on the one before it: services set up structlog for their whole process."""
    structlog.reset_defaults()
