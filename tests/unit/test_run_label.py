"""The label `run` of everything that is exported, read from a service's real endpoint."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace_proto.metrics import ActorMetrics, GateMetrics, LearnerMetrics
from headrace_proto.telemetry import Health, TelemetryServer


@pytest.fixture(params=[ActorMetrics, GateMetrics, LearnerMetrics])
def registry(request: pytest.FixtureRequest) -> CollectorRegistry:
    """Of a service that has done nothing yet."""
    made = CollectorRegistry()
    request.param(made)
    return made


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def address(registry: CollectorRegistry, health: Health) -> Iterator[str]:
    with closing(TelemetryServer(registry, health, "127.0.0.1", 0)) as server:
        yield server.address


def scrape(address: str) -> list[Sample]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def test_before_the_run_is_known_nothing_has_the_label(address: str) -> None:
    assert [sample for sample in scrape(address) if "run" in sample.labels] == []


def test_then_every_sample_has_it_beside_its_own_labels(address: str, health: Health) -> None:
    before = {(sample.name, *sorted(sample.labels.items())) for sample in scrape(address)}
    health.run = "pong-1"
    samples = scrape(address)
    assert {sample.labels.pop("run") for sample in samples} == {"pong-1"}
    assert {(sample.name, *sorted(sample.labels.items())) for sample in samples} == before


def test_another_run_is_another_label_and_the_registry_itself_has_none(
    registry: CollectorRegistry, address: str, health: Health
) -> None:
    for run in ("one", 'two "quoted"\\ with a\nbreak', "", "three"):
        health.run = run
        assert {sample.labels.get("run", "") for sample in scrape(address)} == {run}
    assert [sample for metric in registry.collect() for sample in metric.samples if "run" in sample.labels] == []


def test_the_process_itself_is_exported(address: str) -> None:
    values = {sample.name: sample.value for sample in scrape(address)}
    assert values["process_resident_memory_bytes"] > 1e6
    assert values["process_start_time_seconds"] > 1e9
    assert {"process_cpu_seconds_total", "process_open_fds", "process_max_fds"} <= set(values)
