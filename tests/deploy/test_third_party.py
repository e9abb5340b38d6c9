"""What an image installs before the code comes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "deploy" / "images" / "third_party.py"


def third_party(*folders: str | Path) -> list[str]:
    """What the program prints, run as a build runs it: with nothing but the standard library."""
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, folders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def project(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f"[project]\n{text}\n")
    return folder


@pytest.mark.parametrize("service", ["replay-gate", "learner", "actor"])
def test_a_service_gets_what_proto_needs(service: str) -> None:
    needed = tomllib.loads((ROOT / "proto" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(needed) <= set(third_party(f"services/{service}", "proto"))


def test_the_gate_gets_none_of_protos_extras() -> None:
    assert not [line for line in third_party("services/replay-gate", "proto") if re.match("torch|gymnasium", line)]


def test_an_extra_that_is_asked_for_comes_with_it(tmp_path: Path) -> None:
    service = project(tmp_path / "service", 'name = "ours-service"\ndependencies = ["beta>=2", "ours[games]"]')
    shared = project(
        tmp_path / "shared",
        'name = "ours"\ndependencies = ["alpha>=1"]\noptional-dependencies = { games = ["gamma"], more = ["delta"] }',
    )
    assert third_party(service, shared) == ["alpha>=1", "beta>=2", "gamma"]


def test_a_requirement_keeps_its_own_extras_and_version(tmp_path: Path) -> None:
    service = project(tmp_path / "service", 'name = "ours-service"\ndependencies = ["alpha[fast]>=1,<3"]')
    assert third_party(service) == ["alpha[fast]>=1,<3"]
