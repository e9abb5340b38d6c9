"""The benchmark of lag against learning: what it reads of runs, and that its command runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lag
import lag_figure
import numpy as np
from lag_figure import Trained
from machine import Load
from measurement import Measured

ROOT = Path(__file__).parents[2]


def trained(capacity: int, returns: list[float]) -> Trained:
    steps = np.linspace(0.0, 1000.0, len(returns), dtype=np.float64)
    return Trained(capacity, capacity / 32, steps, np.array(returns))


def test_a_run_s_score_is_the_return_at_its_end() -> None:
    assert lag.numbers(trained(64, [10.0, 20.0, 60.0])) == {
        "capacity_64_lag": 2.0,
        "capacity_64_score": 60.0,
        "capacity_64_mean_score": 30.0,
    }


def test_the_table_has_medians_over_seeds() -> None:
    seeds = [lag.numbers(trained(256, [score])) for score in (100.0, 300.0, 400.0)]
    shown = lag.table(Measured(seeds, Load(1.0, 2, 1.0, 0.0, (0.0, 0.0))), [256])
    assert shown.rows == [["256", "8.0 (8.0 to 8.0)", "300.0 (100.0 to 400.0)", "300.0 (100.0 to 400.0)"]]


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    runs = [trained(capacity, [1.0, 2.0]) for capacity in (64, 64, 256)]
    lag_figure.save(tmp_path / "figure.png", runs)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_trains_each_capacity_and_prints_its_fields(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / "lag.py"), "--quick", "--json", "--capacities", "64,1024"]
    done = subprocess.run([*command, "--runs", str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr

    values = json.loads(done.stdout)
    assert 0 < values["capacity_64_lag"] < values["capacity_1024_lag"]
    assert values["capacity_1024_score"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {f"cartpole-v1-capacity-{c}-seed-1" for c in (64, 1024)}
