"""A short run under faults from a fixed seed; `make chaos` makes long ones of the same (docs/guarantees.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaos import schedule
from chaos.experiment import perform
from chaos.machine import Permitted
from chaos.schedule import Schedule

SEED = 5
SECONDS = 50.0
FAULTS = 12
ACTORS = 8
LEASE_SECONDS = 3.0

COMPARED_SECONDS = 15.0
"""Of a process's memory, after half a minute and at its end: actor 0, which no signal ends, lives for long enough.

With half a minute, as in long runs, none would be judged: faults and calm leave it no 90 s.
"""

FAMILIES = tuple(Permitted().families(ACTORS, LEASE_SECONDS))


@pytest.fixture(scope="module")
def permitted() -> Permitted:
    return Permitted.here()


@pytest.fixture
def planned(permitted: Permitted) -> Schedule:
    """At least one fault of each family; what the machine does not permit is left out, and the schedule is another."""
    families = permitted.families(ACTORS, LEASE_SECONDS)
    deck = permitted.kinds(ACTORS, LEASE_SECONDS)
    return schedule.draw(SEED, SECONDS, FAULTS, ACTORS, LEASE_SECONDS, deck, list(families.values()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_short_schedule_has_faults_of_every_family(family: str, permitted: Permitted, planned: Schedule) -> None:
    if family in permitted.missing:
        pytest.skip(f"no faults of {family} are made here: {permitted.missing[family]}")
    names = {kind.name for kind in permitted.families(ACTORS, LEASE_SECONDS)[family]}
    assert names & {fault.kind for fault in planned.faults}


@pytest.mark.timeout(900)
def test_no_fault_of_a_short_schedule_breaks_a_promise(permitted: Permitted, planned: Schedule, tmp_path: Path) -> None:
    report = perform(planned, permitted, tmp_path, print, COMPARED_SECONDS)

    assert report.broken == [], f"seed {SEED}, schedule:\n{planned.to_json()}\n{json.dumps(report.to_dict(), indent=1)}"
    assert len(report.strikes) == FAULTS
    assert report.judge.books["trained"] > 1_000
    assert "actor-0 #1" in {growth.process for growth in report.growths}, "nobody's memory was judged"
