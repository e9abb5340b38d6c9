"""What an image is, and what is not in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from containers.conftest import REVISION
from containers.deployment import ROOT, clean_clone, run
from waiting import wait_until

BASE = "python:3.11.14-slim-bookworm"
PORTS = {"replay-gate": 9101, "learner": 9102, "actor": 9100}
COMMANDS = {"replay-gate": "headrace-gate", "learner": "headrace-learner", "actor": "headrace-actor"}
LARGEST_GATE_BYTES = 150_000_000  # beside the base

each_service = pytest.mark.parametrize("service", PORTS)

INSTALLED = """
import importlib.metadata, json
print(json.dumps({each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}))
"""


def inspect(name: str) -> dict[str, Any]:
    inspected: list[dict[str, Any]] = json.loads(run(["docker", "inspect", name], ROOT))
    return inspected[0]


def run_in(image: str, entrypoint: str, *arguments: str, user: str = "10001:10001") -> str:
    """Standard output of a program in a container that can write nowhere and talk to nobody."""
    confined = ["--rm", "--read-only", "--network", "none", "--cap-drop", "ALL", "--user", user]
    return run(["docker", "run", *confined, "--entrypoint", entrypoint, image, *arguments], ROOT)


def installed(image: str) -> dict[str, str]:
    """Versions of the installed distributions by their names as the lock has them."""
    found: dict[str, str] = json.loads(run_in(image, "python", "-c", INSTALLED))
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}


@each_service
def test_a_service_runs_as_its_own_process_and_as_nobody_special(images: dict[str, str], service: str) -> None:
    configuration = inspect(images[service])["Config"]
    assert configuration["User"] == "10001:10001"
    assert configuration["Entrypoint"] == [COMMANDS[service]]
    assert not configuration["Cmd"]
    assert not configuration["Volumes"]


@each_service
def test_an_image_asks_its_service_whether_it_is_ready(images: dict[str, str], service: str) -> None:
    check = inspect(images[service])["Config"]["Healthcheck"]
    assert check["Test"] == ["CMD", "python", "-m", "headrace_proto.healthcheck", str(PORTS[service])]


@each_service
def test_an_image_says_what_it_is(images: dict[str, str], service: str) -> None:
    prefix = "org.opencontainers.image."
    labels = {
        name.removeprefix(prefix): value
        for name, value in inspect(images[service])["Config"]["Labels"].items()
        if name.startswith(prefix)
    }
    assert labels["title"] == f"Headrace {service}"
    assert labels["licenses"] == "MIT"
    assert labels["revision"] == REVISION
    assert {"description", "source", "version"} <= set(labels)


@each_service
def test_a_service_answers_where_it_can_write_nothing(images: dict[str, str], service: str) -> None:
    assert "--metrics-port" in run_in(images[service], COMMANDS[service], "--help")


@each_service
def test_an_image_holds_no_compiler_and_no_cache(images: dict[str, str], service: str) -> None:
    tools = "for tool in cc gcc g++ c++ clang ld make cmake ninja; do command -v $tool || true; done"
    assert run_in(images[service], "sh", "-c", tools) == ""
    look = "ls -A /root/.cache /build /wheels /tmp 2>/dev/null; true"
    assert run_in(images[service], "sh", "-c", look, user="0:0").replace("/tmp:", "").strip() == ""


@each_service
def test_an_image_has_what_the_lock_says(images: dict[str, str], service: str) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = dict(line.partition(" ;")[0].split("==") for line in lines if not line.startswith("#"))
    ours = {"headrace-proto", "headrace-" + COMMANDS[service].removeprefix("headrace-")}
    found = installed(images[service])
    assert ours <= set(found)
    # What torch's build for CUDA brings is pinned by torch itself; the lock is for every machine.
    theirs = {name for name in found if name not in ours and not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert {name: found[name].partition("+")[0] for name in theirs} == {name: locked.get(name) for name in theirs}


def test_the_gate_knows_neither_torch_nor_games(images: dict[str, str]) -> None:
    assert not {"torch", "gymnasium", "ale-py", "safetensors", "tensorboard"} & set(installed(images["replay-gate"]))


def test_the_gates_image_is_small(images: dict[str, str]) -> None:
    assert inspect(images["replay-gate"])["Size"] - inspect(BASE)["Size"] < LARGEST_GATE_BYTES


def test_learner_and_actor_share_the_layer_of_torch(images: dict[str, str]) -> None:
    learner, actor, base = (
        set(inspect(image)["RootFS"]["Layers"]) for image in (images["learner"], images["actor"], BASE)
    )
    assert (learner & actor) - base


def test_a_build_sees_only_what_it_needs(tmp_path: Path) -> None:
    clone = clean_clone(tmp_path)
    (clone / ".env").write_text("A_SECRET=1\n")
    (clone / "proto" / "headrace_proto" / "__pycache__").mkdir()
    (clone / "proto" / "headrace_proto" / "__pycache__" / "old.pyc").touch()
    (clone / "looks").write_text(f"FROM {BASE}\nCOPY . /seen\n")
    tag = "headrace/build-context:test"
    run(["docker", "build", "--quiet", "--file", "looks", "--tag", tag, "."], clone)
    seen = run_in(tag, "find", "/seen", "-type", "f").split()
    run(["docker", "image", "rm", tag], clone)
    needed = r"requirements\.lock|deploy/images/third_party\.py|(proto|services/[a-z-]+)/[\w/]+\.(toml|md|py|typed)"
    assert [path for path in seen if not re.fullmatch(f"/seen/({needed})", path)] == []


def test_a_service_that_is_told_to_stop_ends_well_with_no_init_before_it(images: dict[str, str]) -> None:
    options = ["--detach", "--read-only", "--cap-drop", "ALL"]
    container = run(["docker", "run", *options, images["replay-gate"], "--insecure"], ROOT).strip()
    try:
        wait_until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy")
        run(["docker", "stop", "--time", "60", container], ROOT)
        assert inspect(container)["State"]["ExitCode"] == 0
    finally:
        run(["docker", "rm", "--force", container], ROOT)
