"""A short run under faults from a fixed seed; `make chaos` makes long ones of the same (docs/guarantees.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos import schedule
from chaos.experiment import perform
from chaos.machine import Permitted

SEED = 5
SECONDS = 50.0
FAULTS = 12
ACTORS = 8
LEASE_SECONDS = 3.0


@pytest.mark.timeout(900)
def test_no_fault_of_a_short_schedule_breaks_a_promise(tmp_path: Path) -> None:
    """What the machine does not permit is left out, and the schedule is then another."""
    permitted = Permitted.here()
    kinds = permitted.kinds(ACTORS, LEASE_SECONDS)
    planned = schedule.draw(SEED, SECONDS, FAULTS, ACTORS, LEASE_SECONDS, kinds)

    report = perform(planned, permitted, tmp_path, print)

    assert report.broken == [], f"seed {SEED}, schedule:\n{planned.to_json()}\n{json.dumps(report.to_dict(), indent=1)}"
    assert len(report.strikes) == FAULTS
    assert report.judge.books["trained"] > 1_000
