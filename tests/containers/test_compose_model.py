"""The deployment as Compose understands it, before anything is started."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from containers.deployment import ROOT, run

SERVICES = ("keys", "replay-gate", "learner", "actor", "evaluator", "prometheus", "grafana")
OURS = ("keys", "replay-gate", "learner", "actor", "evaluator")

BASE = ("--file", "docker-compose.yml")
GPU = (*BASE, "--file", "docker-compose.gpu.yml")
EVAL = (*BASE, "--profile", "eval")

each_service = pytest.mark.parametrize("service", SERVICES)


def model(*options: str, **environment: str) -> dict[str, Any]:
    """The whole model, with no `.env` but the one that is written down as an example."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (*ROOT.glob("docker-compose*.yml"), ROOT / ".env.example"):
            shutil.copy(path, folder)
        shutil.copy(ROOT / ".env.example", Path(folder) / ".env")
        command = ["docker", "compose", *options, "config", "--format", "json"]
        found: dict[str, Any] = json.loads(run(command, Path(folder), **environment))
        return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = model(*EVAL)["services"]
    return found


@pytest.mark.parametrize("options", [BASE, EVAL, GPU], ids=["base", "eval", "gpu"])
def test_the_files_are_valid(options: tuple[str, ...]) -> None:
    run(["docker", "compose", *options, "config", "--quiet"], ROOT)


def test_these_are_the_services(services: dict[str, Any]) -> None:
    assert set(services) == set(SERVICES)
    assert "evaluator" not in model(*BASE)["services"]


@each_service
def test_a_container_may_do_little(services: dict[str, Any], service: str) -> None:
    chosen = services[service]
    assert chosen["cap_drop"] == ["ALL"]
    assert chosen["security_opt"] == ["no-new-privileges:true"]
    assert chosen["read_only"]
    assert chosen["init"]
    assert "privileged" not in chosen
    limits = chosen["deploy"]["resources"]["limits"]
    assert int(limits["memory"]) > 0
    assert int(limits["pids"]) > 0


@each_service
def test_a_container_has_no_name_and_is_restarted_where_it_fails(services: dict[str, Any], service: str) -> None:
    assert "container_name" not in services[service]
    # A learner that ended well has finished; Prometheus and Grafana are never done; keys that fail are seen to fail.
    policy = {"keys": "no", "prometheus": "unless-stopped", "grafana": "unless-stopped"}
    assert services[service]["restart"] == policy.get(service, "on-failure")


@each_service
def test_ports_are_on_this_machine_only_and_never_a_services(services: dict[str, Any], service: str) -> None:
    published = services[service].get("ports", [])
    assert {port["host_ip"] for port in published} <= {"127.0.0.1"}
    assert bool(published) == (service not in OURS)


@pytest.mark.parametrize("role", ["gate", "learner", "actor"])
def test_a_service_sees_the_keys_of_its_own_role_and_cannot_change_them(services: dict[str, Any], role: str) -> None:
    service = "replay-gate" if role == "gate" else role
    mounts = {mount["target"]: mount for mount in services[service]["volumes"]}
    assert [target for target in mounts if target.startswith("/keys")] == [f"/keys/{role}"]
    assert mounts[f"/keys/{role}"]["read_only"]
    assert services[service]["environment"]["HEADRACE_KEYS"] == "/keys"
    assert services[service]["depends_on"]["keys"]["condition"] == "service_completed_successfully"


def test_the_evaluator_changes_nothing(services: dict[str, Any]) -> None:
    assert [mount["source"] for mount in services["evaluator"]["volumes"] if mount["read_only"]] == ["runs"]
    assert len(services["evaluator"]["volumes"]) == 1


def test_an_actor_is_told_the_gates_address_and_keeps_nothing(services: dict[str, Any]) -> None:
    assert [mount["target"] for mount in services["actor"]["volumes"]] == ["/keys/actor"]
    assert set(services["actor"]["environment"]) == {"HEADRACE_KEYS", "HEADRACE_GATE_ADDRESS"}


def test_grafana_shows_without_a_login_and_changes_nothing(services: dict[str, Any]) -> None:
    environment = services["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert all(mount["read_only"] for mount in services["grafana"]["volumes"])


@pytest.mark.parametrize("service", ["learner", "actor", "replay-gate", "evaluator"])
def test_one_file_of_settings_reaches_every_service(service: str, tmp_path: Path) -> None:
    for name in ("docker-compose.yml", ".env.example"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".env").write_text("HEADRACE_CAPACITY=512\nHEADRACE_RUN_DIR=/runs/other\n")
    found = json.loads(run(["docker", "compose", *EVAL, "config", "--format", "json"], tmp_path))
    environment = found["services"][service]["environment"]
    assert environment["HEADRACE_CAPACITY"] == "512"
    assert environment["HEADRACE_RUN_DIR"] == "/runs/other"


def test_lines_of_env_add_the_evaluator_and_the_gpu_to_every_command(tmp_path: Path) -> None:
    for path in ROOT.glob("docker-compose*.yml"):
        shutil.copy(path, tmp_path)
    lines = ("COMPOSE_PROFILES=eval", "COMPOSE_FILE=docker-compose.yml:docker-compose.gpu.yml")
    (tmp_path / ".env").write_text("\n".join(lines))
    found = json.loads(run(["docker", "compose", "config", "--format", "json"], tmp_path))
    assert set(found["services"]) == set(SERVICES)
    assert found["services"]["learner"]["environment"]["HEADRACE_DEVICE"] == "cuda"


def test_only_the_learner_gets_a_gpu() -> None:
    with_gpu = model(*GPU)["services"]
    asking = [name for name, each in with_gpu.items() if "reservations" in each["deploy"]["resources"]]
    assert asking == ["learner"]
    assert with_gpu["learner"]["environment"]["HEADRACE_DEVICE"] == "cuda"
    assert with_gpu["learner"]["image"] != with_gpu["actor"]["image"]


def test_an_index_for_torch_that_is_empty_stays_empty() -> None:
    built = model(*BASE, TORCH_INDEX_URL="")["services"]["learner"]["build"]
    assert built["args"]["TORCH_INDEX_URL"] == ""
