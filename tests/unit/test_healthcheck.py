"""The images' health check, run as Docker runs it, against a service's real endpoint."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from headrace_proto.telemetry import Health, TelemetryServer


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def port(health: Health) -> Iterator[str]:
    """Of a service with this health."""
    with closing(TelemetryServer(CollectorRegistry(), health, "127.0.0.1", 0)) as server:
        yield server.address.rpartition(":")[2]


def check(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of a check."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace_proto.healthcheck", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_service_that_is_ready_passes(port: str, health: Health) -> None:
    health.ready = True
    assert check(port) == (0, "ready\n")


def test_one_that_is_not_ready_fails_and_says_what_it_waits_for(port: str, health: Health) -> None:
    health.beat("gate")
    assert check(port) == (1, "not ready: waiting for gate\n")


def test_the_setting_of_the_port_wins_over_the_argument(port: str, health: Health) -> None:
    health.ready = True
    assert check("1", HEADRACE_METRICS_PORT=port) == (0, "ready\n")
    assert check(HEADRACE_METRICS_PORT=port) == (0, "ready\n")


def test_nobody_there_fails() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        status, said = check(port)
    assert (status, said.startswith(f"no answer on port {port}: ")) == (1, True)


def test_one_that_takes_the_connection_and_says_nothing_fails() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        status, said = check(str(silent.getsockname()[1]))
    assert (status, said.endswith("timed out\n")) == (1, True)


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", ""])
def test_a_port_that_is_none_fails_and_says_what_is_allowed(port: str) -> None:
    status, said = check(port)
    assert status == 1
    assert said == f"port {port!r}: must be 1 to 65535; give it as the argument or in HEADRACE_METRICS_PORT\n"


def test_it_imports_nothing_but_a_little_of_the_standard_library() -> None:
    program = (
        "import sys; before = set(sys.modules); import headrace_proto.healthcheck; print(*{*sys.modules} - before)"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split()
    ours = {name for name in imported if name.startswith("headrace")}
    assert ours == {"headrace_proto", "headrace_proto.healthcheck"}
    assert {name.partition(".")[0] for name in imported} - {"headrace_proto"} <= sys.stdlib_module_names
    assert not {"http", "urllib", "email", "json", "asyncio", "ssl", "logging"} & set(imported)
