"""What a learner shows of its training: metrics, and curves that a failing disk stops no training for."""

from __future__ import annotations

import csv
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from made_up import a_batch, a_rollout, a_run
from prometheus_client import CollectorRegistry
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headrace_learner.reporting import Reporter
from headrace_learner.training import Counters, Update
from headrace_learner.training_log import METRICS_FILE, Row, TrainingLog
from headrace_proto.metrics import LearnerMetrics

RUN = a_run()
UPDATE = Update(loss=0.5, q_value_mean=1.0, gradient_norm=2.0, learning_rate=0.1, seconds=0.01)


class Reported:
    """A reporter of a run that has made 100 updates before, and what Prometheus sees of it."""

    def __init__(self, run_dir: Path) -> None:
        self.registry = CollectorRegistry()
        counters = Counters(env_steps=800, updates=100)
        self.reporter = Reporter(
            LearnerMetrics(self.registry), run_dir, counters, frame_skip=1, steps=1000, log=structlog.get_logger()
        )

    def train(self, *lags: int, update: Update = UPDATE) -> None:
        ended = a_rollout(RUN, len(lags), terminated=True, episode_return=7.0, episode_length=9)
        self.reporter.trained(a_batch(RUN, [ended]), [update], np.array(lags))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"headrace_learner_{name}", labels)


def test_policy_lag_counts_every_transition_and_its_maximum_stays(tmp_path: Path) -> None:
    run = Reported(tmp_path)
    run.train(0, 0, 3, 3, 3)
    run.train(300, 7)
    run.train(1)
    run.reporter.close()
    within = [
        run.value("policy_lag_updates_bucket", le=bound) for bound in ("0.0", "1.0", "3.0", "6.0", "8.0", "256.0")
    ]
    assert within == [2, 3, 6, 6, 7, 7]
    assert run.value("policy_lag_updates_bucket", le="+Inf") == run.value("policy_lag_updates_count") == 8
    assert run.value("policy_lag_updates_sum") == 317
    assert run.value("policy_lag_max_updates") == 300


def test_updates_of_the_run_count_those_of_earlier_processes(tmp_path: Path) -> None:
    run = Reported(tmp_path)
    run.reporter.close()
    assert (run.value("run_updates"), run.value("updates_total")) == (100, 0)


def test_what_an_algorithm_shows_of_itself_reaches_prometheus_and_tensorboard(tmp_path: Path) -> None:
    run = Reported(tmp_path)
    assert math.isnan(run.value("policy_entropy") or 0.0)
    logged = {"policy_loss": -0.25, "value_loss": 0.5, "entropy": 0.75, "importance_weight": 0.875}
    run.train(0, 1, update=replace(UPDATE, logged=logged))
    run.reporter.close()
    names = ("policy_loss", "value_loss", "policy_entropy", "importance_weight_mean")
    assert [run.value(name) for name in names] == list(logged.values())
    events = EventAccumulator(str(tmp_path)).Reload()
    shown = {name: events.Scalars(f"losses/{name}")[-1].value for name in logged}
    assert shown == logged


def test_curves_that_cannot_be_written_are_logged_at_times_and_go_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_learner.reporting.ROW_SECONDS", 0)
    run = Reported(tmp_path)
    with no_more_written(), structlog.testing.capture_logs() as lines:
        for _ in range(30):
            run.train(0, 1)
            run.reporter.tick()
    assert [line["log_level"] for line in lines if line["event"] == "curves_failed"] == ["error"]
    assert run.value("updates_total") == 30
    run.train(0, 1)
    run.reporter.tick()
    run.train(0, 1, update=replace(UPDATE, loss=0.25))
    run.reporter.close()
    assert (tmp_path / METRICS_FILE).read_text().splitlines()[-1].split(",")[1] == "800"
    losses = [event.value for event in EventAccumulator(str(tmp_path)).Reload().Scalars("losses/td_loss")]
    assert losses[-1] == 0.25
    assert set(losses) == {0.5, 0.25}


def test_curves_begin_once_there_is_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_learner.reporting.ROW_SECONDS", 0)
    earlier = Reported(tmp_path)
    earlier.train(0, 1)
    earlier.reporter.close()
    with no_more_written(), structlog.testing.capture_logs():
        run = Reported(tmp_path)
        run.train(0, 1)
        run.reporter.tick()
    run.train(0, 1)
    run.reporter.tick()
    run.reporter.close()
    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 3, "a header, and a row of each"


def test_a_row_is_written_also_while_nothing_is_trained_and_tensorboard_shows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_learner.reporting.ROW_SECONDS", 0)
    run = Reported(tmp_path)
    run.reporter.tick()
    run.train(0, 1)
    run.reporter.tick()
    run.reporter.tick()
    run.reporter.close()
    rows = list(csv.DictReader((tmp_path / METRICS_FILE).read_text().splitlines()))
    assert [row["lag_max"] for row in rows] == ["", "1", ""]
    assert [row["return_mean_100"] for row in rows] == ["", "", ""]
    assert len(EventAccumulator(str(tmp_path)).Reload().Scalars("losses/td_loss")) == 1


EARLIER = "time,env_steps,frames,episodes,return_mean_100\r\n"
NEWER = "time,env_steps,frames,updates,episodes,return_mean_100,loss,q,gradient_norm,learning_rate,epsilon,lag_mean,"


def rows_after_resuming(run_dir: Path, content: str, env_steps: int = 800) -> list[dict[str, str]]:
    (run_dir / METRICS_FILE).write_text(content, newline="")
    log = TrainingLog(run_dir, env_steps)
    log.row(Row(9.0, 900, 900, 5, 1, 21.0, 0.5, 1.0, 2.0, 0.1, 0.25, 1.0, 2, 1000.0))
    log.close()
    return list(csv.DictReader((run_dir / METRICS_FILE).read_text().splitlines()))


def test_the_rows_of_a_release_with_other_columns_stay_beside_those_that_follow(tmp_path: Path) -> None:
    rows = rows_after_resuming(tmp_path, EARLIER + "5.0,400,1600,1,7\r\n10.0,800,3200,2,8\r\n15.0,1200,4800,3,9\r\n")
    assert [(row["env_steps"], row["return_mean_100"], row["loss"]) for row in rows] == [
        ("400", "7", ""),
        ("800", "8", ""),
        ("900", "21", "0.5"),
    ]


def test_a_column_that_this_release_does_not_know_is_kept(tmp_path: Path) -> None:
    rows = rows_after_resuming(
        tmp_path, NEWER + "lag_max,steps_per_second,fashion\r\n" + "1,400," + "2," * 12 + "hat\r\n"
    )
    assert [row["fashion"] for row in rows] == ["hat", ""]


def test_a_row_cut_inside_its_last_number_is_dropped(tmp_path: Path) -> None:
    rows = rows_after_resuming(tmp_path, EARLIER + "5.0,400,1600,1,7.25\r\n10.0,800,3200,2,18.")
    assert [row["return_mean_100"] for row in rows] == ["7.25", "21"]


@pytest.mark.parametrize(
    "content", ["", "time,env_st", "\0\0\0\0\r\n\0", EARLIER + "5.0,4e2,1600,1,7\r\n5.0,400,1\r\n"]
)
def test_a_file_without_a_whole_row_hinders_no_curves(tmp_path: Path, content: str) -> None:
    assert [row["return_mean_100"] for row in rows_after_resuming(tmp_path, content)] == ["21"]


@contextmanager
def no_more_written() -> Iterator[None]:
    """Every file is as full as it may be."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
