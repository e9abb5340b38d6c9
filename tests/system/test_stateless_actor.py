"""Invariant 6: an actor needs the gate's address and nothing else, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from system.training_run import TrainingRun, scrape
from waiting import wait_until

from headrace_local.ports import free_ports

NOTHING_MAY_BE_WRITTEN = 'ulimit -f 0 && exec "$0" "$@"'
"""With a largest file of 0 bytes, every write to a file fails, wherever it is; pipes and sockets are not files."""


def gate_address(run: TrainingRun) -> str:
    lines = (run.run_dir / "logs" / "gate.log").read_text().splitlines()
    started = next(event for event in map(json.loads, lines) if event["event"] == "started")
    return str(started["control"])


@pytest.mark.timeout(300)
def test_an_actor_plays_from_empty_folders_and_writes_nothing_to_disk(tmp_path: Path) -> None:
    folders = {name: tmp_path / name.lower() for name in ("CWD", "HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir()
    environment = {**os.environ, "HOME": str(folders["HOME"]), "TMPDIR": str(folders["TMPDIR"])}
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    atari = ("--game", "Breakout", "--network", "dqn-2013", "--environments-per-actor", "2")
    with TrainingRun(run_folder, *atari, "--actors", "1", "--steps", "100000000", "--transport", "tcp") as run:
        run.wait_for_steps(100)
        (port,) = free_ports(1)
        settings = ("--gate-address", gate_address(run), "--metrics-port", str(port))
        actor = subprocess.Popen(
            ["/bin/sh", "-c", NOTHING_MAY_BE_WRITTEN, sys.executable, "-m", "headrace_actor", *settings],
            cwd=folders["CWD"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until(lambda: generated(port) >= 100, seconds=120)
            assert run.value("gate", "gate_actors") == 2
            actor.send_signal(signal.SIGTERM)
            output, _ = actor.communicate(timeout=60)
        finally:
            actor.kill()
            actor.wait()

    assert actor.returncode == 0, output
    assert [line for line in output.splitlines() if json.loads(line)["event"] == "joined"]
    assert {name: list(folder.iterdir()) for name, folder in folders.items()} == {"CWD": [], "HOME": [], "TMPDIR": []}


def generated(port: int) -> float:
    samples = scrape(f"127.0.0.1:{port}")
    return samples["headrace_actor_env_steps_total", ()] if samples is not None else 0.0
