"""The HTTP endpoint of a service, and clients that do not wait for it."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from waiting import wait_until

from headrace_proto.base_settings import Settings
from headrace_proto.errors import UserError
from headrace_proto.settings import ActorSettings, EvaluatorSettings, GateSettings, LearnerSettings
from headrace_proto.telemetry import Health, TelemetryServer

CLOSE_WITH_RESET = struct.pack("ii", 1, 0)


class SlowCollector(Collector):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.is_asked.set()
        self.may_answer.wait(60)
        yield GaugeMetricFamily("slow", "A metric that takes its time.", value=1.0)

    def describe(self) -> Iterator[Metric]:
        return iter(())


@pytest.mark.parametrize("path", ["no/such/folder/address", "", "taken"])
def test_a_file_for_the_address_that_cannot_be_written_is_a_persons_mistake(tmp_path: Path, path: str) -> None:
    (tmp_path / "taken").mkdir()
    file = tmp_path / path if path else Path()
    refused = pytest.raises(UserError, match=f"--metrics-address-file {file}: cannot write it: .*; choose a file")
    with closing(TelemetryServer(CollectorRegistry(), Health(), "127.0.0.1", 0)) as server, refused:
        server.write_address(file)


def test_a_scrape_that_was_given_up_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    registry, slow = CollectorRegistry(), SlowCollector()
    registry.register(slow)
    with closing(TelemetryServer(registry, Health(), "127.0.0.1", 0)) as server:
        host, _, port = server.address.partition(":")
        threads = threading.active_count()
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_WITH_RESET)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert slow.is_asked.wait(60)
        slow.may_answer.set()
        wait_until(lambda: threading.active_count() == threads)

    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("service", [GateSettings, LearnerSettings, ActorSettings, EvaluatorSettings])
def test_metrics_are_served_to_whoever_asks_on_this_machine_and_by_default_to_nobody_beyond_it(
    service: type[Settings],
) -> None:
    host = service.model_fields["metrics_host"].default
    with closing(TelemetryServer(CollectorRegistry(), Health(), host, 0)) as server:
        address, _, port = server.address.partition(":")
        assert address == "127.0.0.1"
        with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=60) as response:
            assert response.status == 200  # nothing was asked of us
        # Another address of this machine, as that of its network is: nobody listens there.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(port)), timeout=60)
