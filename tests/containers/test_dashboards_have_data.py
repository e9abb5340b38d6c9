"""Every query of every panel, put to the deployment's Prometheus after it has scraped a run with an evaluator."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import panel_queries
import pytest
from system.training_run import TrainingRun, fetch
from waiting import wait_until

from headrace_grafana import prometheus

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
IMAGE = "prom/prometheus:v3.5.0"
RUN = "cart"
CONFIGURATION = f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [/rules/recording.yml]
scrape_configs:
  - job_name: headrace
    file_sd_configs:
      - files: [/scraped/runs/{RUN}/targets.json, /scraped/evaluator.json]
        refresh_interval: 1s
"""

START_SECONDS = 180

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a run that trains as long as the tests last, followed by an evaluator."""
    made = tmp_path_factory.mktemp("dashboards")
    # On tcp, since only there are handshakes watched.
    train = ["--game", "CartPole-v1", "--actors", "2", "--save-every", "2000", "--transport", "tcp"]
    # Ages have quantiles once something is sampled.
    train += ["--algorithm", "nstep-q", "--replay", "uniform", "--replay-min-size-to-sample", "1000"]
    evaluate = [sys.executable, "-m", "headrace_learner", "evaluator", "--run-dir", str(made / "runs" / RUN)]
    evaluate += ["--episodes", "3", "--metrics-port", "0", "--metrics-address-file", str(made / "address")]
    with TrainingRun(made, *train, name=RUN) as run, (made / "evaluator.log").open("w") as log:
        evaluator = subprocess.Popen(evaluate, stdout=log, stderr=log)
        try:
            wait_until((made / "address").exists, START_SECONDS)
            wait_until((run.run_dir / "targets.json").exists, START_SECONDS)
            target = {"targets": [(made / "address").read_text().strip()], "labels": {"job": "headrace-evaluator"}}
            (made / "evaluator.json").write_text(json.dumps([target]))
            yield made
        finally:
            evaluator.kill()
            evaluator.wait()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """Of a Prometheus in the image of the deployment, with its recording rules."""
    (folder / "prometheus.yml").write_text(CONFIGURATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["docker", "run", "--detach", "--network", "host", "--user", f"{os.getuid()}:{os.getgid()}"]
    command += ["--tmpfs", "/data:mode=1777", "--volume", f"{folder}:/scraped:ro", "--volume", f"{RULES}:/rules:ro"]
    command += [IMAGE, "--config.file=/scraped/prometheus.yml", "--storage.tsdb.path=/data"]
    started = subprocess.run([*command, f"--web.listen-address={listen}"], capture_output=True, text=True, check=True)
    container = started.stdout.strip()
    try:
        yield listen
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], capture_output=True, check=True)


def test_every_query_gives_data(address: str) -> None:
    wait_until(lambda: is_ready(address), START_SECONDS)
    panel_queries.wait_for_data(address, RUN, seconds=300)
    panel_queries.wait_for_data(address)


def test_failed_handshakes_are_those_of_each_socket_and_not_of_none(address: str) -> None:
    (asked,) = (each for each in panel_queries.panel_queries() if each.panel == "Failed handshakes")

    def watched() -> set[str]:
        found = prometheus.query(address, prometheus.interpolate(asked.expression, RUN))
        return {series.labels.get("socket", "none") for series in found}

    wait_until(lambda: is_ready(address) and watched() == {"transitions", "control", "batches", "weights"}, 300)


def test_the_variable_run_offers_the_run(address: str) -> None:
    def offered() -> list[str]:
        found = prometheus.query(address, "group by (run) (headrace_build_info)")
        return [series.labels.get("run", "") for series in found]

    wait_until(lambda: is_ready(address) and RUN in offered(), START_SECONDS)


def test_another_run_shows_nothing_but_that_no_handshake_failed(address: str) -> None:
    wait_until(lambda: is_ready(address), START_SECONDS)
    empty = set(panel_queries.without_data(address, "another"))
    assert {asked.panel for asked in panel_queries.panel_queries() if str(asked) not in empty} == {"Failed handshakes"}


def is_ready(address: str) -> bool:
    try:
        return fetch(address, "/-/ready")[0] == 200
    except OSError:
        return False
