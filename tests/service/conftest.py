"""A learner of CartPole and the gate that it talks to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from learner_thread import LearnerThread
from small_gate import SmallGate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[SmallGate]:
    made = SmallGate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def learner(tmp_path: Path, gate: SmallGate) -> Iterator[LearnerThread]:
    made = LearnerThread(tmp_path, gate)
    yield made
    made.stop()
