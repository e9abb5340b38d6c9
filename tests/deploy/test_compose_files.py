"""Dockerfiles, compose files and `.env.example` as text: linted, valid, and with names that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from headrace_proto.arguments import Known, check_environment
from headrace_proto.errors import UserError
from headrace_proto.names import ENVIRONMENT_PREFIX

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("services/*/Dockerfile"))
COMPOSE_FILES = sorted(ROOT.glob("docker-compose*.yml"))
WITH_SETTINGS = [*DOCKERFILES, *COMPOSE_FILES, ROOT / ".env.example"]


BASE_IMAGE = re.compile(r"\bpython:[\w.-]+")
NAME_THE_BASE = (*DOCKERFILES, *(ROOT / name for name in ("docker-compose.yml", ".env.example", ".ci/run")))


COMPOSES_OWN = {"COMPOSE_FILE", "COMPOSE_PROFILES"}


def in_repository(path: Path) -> str:
    return str(path.relative_to(ROOT))


def settings_named_in(path: Path) -> set[str]:
    return set(re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]+\b", path.read_text()))


def test_every_service_has_a_dockerfile() -> None:
    assert [path.parent.name for path in DOCKERFILES] == sorted(path.name for path in (ROOT / "services").iterdir())


@pytest.mark.parametrize("path", DOCKERFILES, ids=in_repository)
def test_a_dockerfile_has_nothing_that_its_linter_minds(path: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    linted = subprocess.run([hadolint, path], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_base_is_one_patch_release_of_python_wherever_it_is_named() -> None:
    named = [set(BASE_IMAGE.findall(path.read_text())) for path in NAME_THE_BASE]
    (base,) = set.union(*named)
    assert all(named)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=in_repository)
def test_a_compose_file_follows_the_published_schema(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", WITH_SETTINGS, ids=in_repository)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    check_environment(dict.fromkeys(settings_named_in(path), "1"))


def test_the_check_of_names_sees_one_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="no such setting"):
        check_environment({"HEADRACE_CAPACITIES": "1"})


def test_everything_that_compose_reads_from_the_environment_is_in_the_example() -> None:
    read = {name for path in COMPOSE_FILES for name in re.findall(r"\$\{(\w+)", path.read_text())}
    shown = set(re.findall(r"^# (\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert read <= shown
    of_services = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower() for name in shown if name.startswith(ENVIRONMENT_PREFIX)
    }
    assert of_services <= Known.names
    assert {name for name in shown if not name.startswith(ENVIRONMENT_PREFIX)} <= read | COMPOSES_OWN


def test_the_example_changes_nothing_until_it_is_edited() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
