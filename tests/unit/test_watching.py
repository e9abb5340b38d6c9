"""What `headrace train` shows of a run: read from the processes' real endpoints."""

from __future__ import annotations

import re
import socket
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from headrace_local.display import panel
from headrace_local.scrape import Picture, Snapshot, fetch_metrics, fetch_waiting_for
from headrace_proto.metrics import GateMetrics, LearnerMetrics
from headrace_proto.telemetry import Health, TelemetryServer


def test_reads_what_learner_and_gate_serve() -> None:
    registry, health = CollectorRegistry(), Health()
    LearnerMetrics(registry).env_steps.set(640)
    health.beat("a batch")
    server = TelemetryServer(registry, health, "127.0.0.1", 0)
    try:
        assert fetch_metrics(server.address)["headrace_learner_env_steps"] == 640
        assert fetch_waiting_for(server.address) == "a batch"
    finally:
        server.close()


def test_a_process_that_is_away_has_no_metrics() -> None:
    assert fetch_metrics(None) == {}
    assert fetch_metrics("127.0.0.1:1") == {}


@pytest.mark.parametrize(
    "answer",
    [b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut short", b"HTTP/1.1 200 OK\r\n\r\n<html> {"],
    ids=["no HTTP", "cut short", "no metrics"],
)
def test_a_process_that_answers_nonsense_has_no_metrics(answer: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=_answer_twice, args=[server, answer])
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert fetch_metrics(address) == {}
        assert fetch_waiting_for(address) == ""
        thread.join()


def test_every_metric_that_it_shows_is_one_that_is_exported() -> None:
    learner, gate = CollectorRegistry(), CollectorRegistry()
    LearnerMetrics(learner)
    GateMetrics(gate)
    exported = generate_latest(learner).decode() + generate_latest(gate).decode()
    source = Path(sys.modules[Picture.__module__].__file__ or "").read_text()
    shown = set(re.findall(r'"(headrace_[a-z_0-9]+)"', source))
    assert len(shown) > 8
    assert [name for name in shown if name not in exported] == []


def test_rates_lag_and_time_left_come_from_differences() -> None:
    picture = Picture(steps=10_000, frame_skip=4)
    picture.add(_learner(1000, trained=0), {}, "", now=-100.0)
    picture.add(_learner(1500, trained=500, lag_sum=100, lag_count=500), {}, "", now=0.0)
    shown = picture.add(_learner(3500, trained=2500, lag_sum=8100, lag_count=2500), {}, "", now=10.0)
    assert shown.frames == 14_000
    assert (shown.steps_per_second, shown.frames_per_second) == (200.0, 800.0)
    assert shown.seconds_left == 32.5
    assert shown.policy_lag_mean == 4.0


def test_a_restarted_learner_neither_loses_the_place_nor_makes_rates_wrong() -> None:
    picture = Picture(steps=10_000, frame_skip=1)
    picture.add(_learner(3000, trained=3000, lag_sum=500, lag_count=3000), {}, "", now=0.0)
    assert picture.add({}, {}, "the learner", now=1.0).env_steps == 3000
    assert picture.add(_learner(0, trained=0), {}, "gate", now=4.0).env_steps == 3000
    assert picture.add(_learner(2500, trained=0), {}, "gate", now=5.0).env_steps == 2500
    picture.add(_learner(2600, trained=100), {}, "", now=6.0)
    assert picture.add(_learner(2800, trained=300), {}, "", now=8.0).steps_per_second == 100.0


def test_what_is_not_a_number_yet_is_unknown() -> None:
    shown = Picture(100, 1).add({"headrace_learner_episode_return_mean": float("nan")}, {}, "", now=0.0)
    assert shown.return_mean_100 is None


def test_the_panel_shows_every_quantity() -> None:
    run = Snapshot(500_000, 2_000_000, 2_000_000, 771.5, 3086.0, 12.5, 200, 256, 3.2, 9, 37, 0.0123, 7812, 1944.0, 4)
    text = _rendered(replace(run, waiting_for="a batch"))
    for part in ("25.0%", "500,000 of 2,000,000 steps", "0:32:24 left", "771.5", "3,086.0", "12.5", "200 of 256"):
        assert part in text
    for part in ("mean 3.2, max 9, bound 37", "0.0123", "7,812", "a batch", "4"):
        assert part in text


def _answer_twice(server: socket.socket, answer: bytes) -> None:
    for _ in range(2):
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)


def _rendered(run: Snapshot) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(panel(run))
    return captured.get()


def _learner(env_steps: float, trained: float, lag_sum: float = 0.0, lag_count: float = 0.0) -> dict[str, float]:
    lag = "headrace_learner_policy_lag_updates"
    return {
        "headrace_learner_env_steps": env_steps,
        "headrace_learner_transitions_total": trained,
        f"{lag}_sum": lag_sum,
        f"{lag}_count": lag_count,
    }
