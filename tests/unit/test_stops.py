"""The count of a run's stops by numbers that are not finite, in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from headrace_learner import stops
from headrace_proto.errors import NonFiniteError, UserError
from headrace_proto.metrics import LearnerMetrics


def stop(run_dir: Path, error: Exception) -> None:
    with pytest.raises(type(error)), stops.counted(run_dir, structlog.get_logger()):
        raise error


def exported(run_dir: Path) -> float | None:
    """What a learner that starts now says of the processes before it."""
    registry = CollectorRegistry()
    stops.count_earlier(run_dir, LearnerMetrics(registry), structlog.get_logger())
    return registry.get_sample_value("headrace_learner_non_finite_stops_total")


def test_a_new_run_has_none(tmp_path: Path) -> None:
    assert exported(tmp_path / "new") == 0


def test_each_is_counted_and_other_ends_are_not(tmp_path: Path) -> None:
    stop(tmp_path, NonFiniteError("the loss is nan"))
    stop(tmp_path, UserError("a mistake"))
    with stops.counted(tmp_path, structlog.get_logger()):
        pass
    stop(tmp_path, NonFiniteError("the loss is inf"))
    assert exported(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == [stops.STOPS_FILE]


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"non_finite": "x"}', '{"non_finite": -1}', "\x00"])
def test_a_damaged_count_is_said_and_begins_anew(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / stops.STOPS_FILE).write_text(damage)
    assert exported(tmp_path) == 0
    assert "stops_unreadable" in capsys.readouterr().out
    stop(tmp_path, NonFiniteError("the loss is nan"))
    assert exported(tmp_path) == 1
