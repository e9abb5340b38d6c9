"""Prometheus's own tool on its configuration, on the rules, and on what they must and must not say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
IMAGE = "prom/prometheus:v3.5.0"
CASES = sorted(path.name for path in (PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool of the deployment's image, where the files lie as they do in the deployment."""
    mount = f"{PROMETHEUS}:/etc/prometheus:ro"
    return subprocess.run(
        ["docker", "run", "--rm", "--volume", mount, "--entrypoint", "promtool", IMAGE, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_the_configuration_and_every_file_that_it_names_are_valid() -> None:
    check = promtool("check", "config", "/etc/prometheus/prometheus.yml")
    assert check.returncode == 0, check.stdout + check.stderr
    assert "2 rule files found" in check.stdout


@pytest.mark.parametrize("name", ["recording.yml", "alerts.yml", "kubernetes.yml"])
def test_rules_are_valid_and_none_is_there_twice(name: str) -> None:
    check = promtool("check", "rules", "--lint-fatal", f"/etc/prometheus/{name}")
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("name", CASES)
def test_rules_say_what_their_cases_expect(name: str) -> None:
    test = promtool("test", "rules", f"/etc/prometheus/tests/{name}")
    assert test.returncode == 0, test.stdout + test.stderr
