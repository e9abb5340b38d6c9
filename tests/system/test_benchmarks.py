"""Benchmarks run as commands, in a quick round, and print what their page names: all but those that install peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--game", "CartPole-v1", "--network", "mlp"]


def run(benchmark: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / f"{benchmark}.py"), "--quick", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, ended.stderr
    return ended


def printed(benchmark: str, *flags: str) -> dict[str, Any]:
    lines = run(benchmark, "--json", *flags).stdout.splitlines()
    assert len(lines) == 1
    return dict(json.loads(lines[0]))


def test_end_to_end_prints_its_share_of_the_bound() -> None:
    found = printed("end_to_end", *SMALL)

    assert found["steps_per_second"] > 0
    assert found["efficiency"] == pytest.approx(found["steps_per_second"] / found["bound_steps_per_second"])
    parts = sum(found[f"{part}_microseconds"] for part in ("environment", "inference", "training"))
    assert found["bound_steps_per_second"] == pytest.approx(found["cores"] * 1e6 / parts)
    assert found["load"]["busy_cores"] > 0


def test_weights_reach_every_actor() -> None:
    found = printed("weights", *SMALL, "--actors", "3", "--publications", "2")

    assert found["bytes"] > 10_000  # 17,414 parameters of 4 bytes have 69,656, and their names
    assert found["wait_milliseconds_to_3"] > 0
    assert 0 < found["median_milliseconds_to_3"] <= found["last_milliseconds_to_3"]
    assert found["share_of_machine_to_3"] > 0


def test_startup_prints_seconds_and_memory() -> None:
    found = printed("startup", *SMALL)

    assert 0 < found["import_torch_seconds"] < found["first_update_seconds"]
    assert found["first_rollout_own_seconds"] == pytest.approx(
        found["first_rollout_seconds"] - found["import_torch_seconds"]
    )
    assert 0 < found["actor_unique_mebibytes"] <= found["actor_resident_mebibytes"]
    assert set(found["image_bytes"]) == {"actor", "learner", "replay-gate"}


def test_a_profile_tells_what_is_outside_ale_torch_and_zmq_by_service(tmp_path: Path) -> None:
    figure = tmp_path / "profile.png"

    found = printed("profiles", *SMALL, "--seconds", "10", "--figure", str(figure))  # few samples on a busy machine

    for service in ("actor", "learner", "gate"):
        assert 0 < found[f"{service} outside"] < 2
        assert found["functions"][service]
    assert figure.stat().st_size > 10_000


def test_a_soak_goes_on_with_its_run_piece_by_piece(tmp_path: Path) -> None:
    pieces = ["--runs", str(tmp_path), "--hours", "0.01", "--piece-minutes", "0.1"]
    figure = tmp_path / "soak.png"

    first = printed("soak", *pieces, "--", *SMALL)
    second = printed("soak", *pieces, "--figure", str(figure), "--", *SMALL)

    assert (first["pieces"], second["pieces"]) == (1, 2)
    assert second["env_steps"] > first["env_steps"] > 0
    assert second["env steps/s, end"] > 0
    assert second["learner MiB, end"] > second["gate MiB, end"] > 10
    assert figure.stat().st_size > 10_000


def test_a_table_says_what_the_machine_did_and_goes_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- weights mlp float32 -->\n<!-- end of weights mlp float32 -->\n")

    shown = run("weights", *SMALL, "--actors", "1", "--publications", "1", "--page", str(page)).stdout

    assert "Load:" in shown
    assert "| actors |" in page.read_text()
    assert "bench/weights.py --quick --game CartPole-v1" in page.read_text()
