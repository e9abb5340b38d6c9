"""Every overlay and component of deploy/kubernetes, rendered: valid, restricted, and with names that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from kubernetes_validate import utils as kubernetes_versions
from manifests import KUBERNETES, RENDERED, ROOT, Manifest

from headrace_proto import key_secrets
from headrace_proto.arguments import parse
from headrace_proto.capacity import require_capacity
from headrace_proto.keys import ROLES, Role
from headrace_proto.presets import PRESETS
from headrace_proto.settings import ActorSettings, GateSettings, LearnerSettings, SocketSettings

NEWEST_TWO = list(dict.fromkeys(map(kubernetes_versions.major_minor, kubernetes_versions.all_versions())))[-2:]

CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject"}
SETTINGS: dict[str, type[SocketSettings]] = {"gate": GateSettings, "learner": LearnerSettings, "actor": ActorSettings}
WORKLOADS = {
    "overlays/small": {"Deployment/replay-gate", "StatefulSet/learner", "Deployment/actor"},
    "train-job": {"Deployment/replay-gate", "Job/learner", "Job/actor"},
}

each_rendering = pytest.mark.parametrize("chosen", RENDERED.values(), ids=RENDERED.keys())


def ports_of_the_wire() -> dict[str, dict[str, int]]:
    """What each role binds, as the specification's first table has it, and where it serves /metrics."""
    table = (ROOT / "proto" / "README.md").read_text().partition("## 1. Sockets")[2].partition("## 2.")[0]
    bound = re.findall(r"^\| \w+ \| (gate|learner) \| (\d{4}) \| .* \|$", table, re.MULTILINE)
    names = {"5555": "transitions", "5556": "control", "5557": "batches", "5558": "weights"}
    found = {role: {"metrics": int(SETTINGS[role].model_fields["metrics_port"].default)} for role in SETTINGS}
    for role, port in bound:
        found[role][names[port]] = int(port)
    return found


def test_the_root_is_the_small_overlay_with_four_actors() -> None:
    assert manifests.rendered(".") == manifests.rendered("overlays/small")
    assert manifests.of_kind(manifests.manifests("."), "Deployment")["actor"]["spec"]["replicas"] == 4


@each_rendering
def test_these_are_the_pods(chosen: tuple[str, ...]) -> None:
    expected = WORKLOADS["train-job" if "train-job" in chosen else "overlays/small"]
    assert set(manifests.pods(manifests.manifests(*chosen))) == expected


@each_rendering
@pytest.mark.parametrize("version", NEWEST_TWO)
def test_every_object_follows_its_published_schema(chosen: tuple[str, ...], version: str, tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(manifests.rendered(*chosen))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version, str(path)]
    checked = subprocess.run(command, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    objects = manifests.manifests(*chosen)
    assert checked.stdout.count("passed for resource ") == sum(each["kind"] not in CUSTOM for each in objects)
    assert set(re.findall(r"find schema for kind (\w+)", checked.stdout)) <= CUSTOM


def test_the_check_of_schemas_sees_a_field_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(manifests.rendered("overlays/small").replace("terminationGracePeriodSeconds", "gracePeriod"))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", NEWEST_TWO[0], path]
    assert subprocess.run(command, capture_output=True).returncode == 1


@each_rendering
def test_every_object_of_a_namespace_is_in_the_same_one(chosen: tuple[str, ...]) -> None:
    objects = manifests.manifests(*chosen)
    of_the_cluster = {"Namespace", "PriorityClass"}
    namespaces = {each["metadata"].get("namespace") for each in objects if each["kind"] not in of_the_cluster}
    assert namespaces == set(manifests.of_kind(objects, "Namespace"))


# Settings


@each_rendering
def test_every_setting_is_one_of_its_service_and_has_a_value_that_it_takes(
    chosen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = manifests.manifests(*chosen)
    for pod in manifests.pods(objects).values():
        (container,) = manifests.containers(pod)
        service = SETTINGS[manifests.role_of(pod)]
        named = manifests.settings_of(objects, container)
        assert {name.removeprefix("HEADRACE_").lower() for name in named} <= set(service.model_fields)
        with monkeypatch.context() as patched:
            for name, value in named.items():
                patched.setenv(name, value)
            parsed = parse(service, [], "test")
        assert parsed.model_fields_set >= {name.removeprefix("HEADRACE_").lower() for name in named}


def test_no_service_gets_variables_of_another_object_that_look_like_settings() -> None:
    for chosen in RENDERED.values():
        for pod in manifests.pods(manifests.manifests(*chosen)).values():
            assert pod["spec"]["enableServiceLinks"] is False


def test_a_change_of_a_setting_starts_those_anew_that_read_it() -> None:
    def names(*chosen: str) -> dict[str, str]:
        objects = manifests.manifests(*chosen)
        return {
            manifests.role_of(pod): source["configMapRef"]["name"]
            for pod in manifests.pods(objects).values()
            for container in manifests.containers(pod)
            for source in container["envFrom"]
        }

    before, after = names("overlays/small"), names("overlays/small", "gpu")
    assert {role for role in before if before[role] != after[role]} == {"learner"}


@pytest.mark.parametrize("overlay", ["overlays/small", "overlays/cluster"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_for_gate_and_learner_gives_the_gate_a_capacity_that_cannot_deadlock(
    preset: str, overlay: str
) -> None:
    objects = manifests.manifests(overlay)
    chosen: dict[str, dict[str, Any]] = {}
    for pod in manifests.pods(objects).values():
        (container,) = manifests.containers(pod)
        named = {**manifests.settings_of(objects, container), "HEADRACE_PRESET": preset}
        chosen[manifests.role_of(pod)] = {name.removeprefix("HEADRACE_").lower(): each for name, each in named.items()}
    gate, learner = GateSettings(**chosen["gate"]), LearnerSettings(**chosen["learner"])
    require_capacity(gate.capacity, learner.batch_size, learner.environments_per_actor, learner.rollout_transitions)


def test_the_learner_on_a_gpu_is_the_image_that_compose_builds_for_one() -> None:
    built = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]["learner"]["image"]
    stateful = manifests.of_kind(manifests.manifests("overlays/small", "gpu"), "StatefulSet")["learner"]
    (container,) = manifests.containers(stateful["spec"]["template"])
    assert container["image"] == built.replace("${IMAGE_TAG:-dev}", "dev")


# Ports


@each_rendering
def test_ports_are_those_of_the_wire(chosen: tuple[str, ...]) -> None:
    for pod in manifests.pods(manifests.manifests(*chosen)).values():
        (container,) = manifests.containers(pod)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == ports_of_the_wire()[manifests.role_of(pod)]


@each_rendering
def test_a_service_leads_to_each_role_by_the_ports_that_it_binds(chosen: tuple[str, ...]) -> None:
    objects = manifests.manifests(*chosen)
    services = manifests.of_kind(objects, "Service")
    by_role = {"replay-gate": "gate", "learner": "learner", "actor": "actor"}
    assert set(services) == set(by_role)
    for name, service in services.items():
        ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        assert ports == ports_of_the_wire()[by_role[name]]
        assert all(port["targetPort"] == port["name"] for port in service["spec"]["ports"])
        selected = [pod for pod in manifests.pods(objects).values() if selects(service["spec"]["selector"], pod)]
        assert [manifests.role_of(pod) for pod in selected] == [by_role[name]]


def selects(labels: dict[str, str], pod: Manifest) -> bool:
    found: dict[str, str] = pod["metadata"]["labels"]
    return labels.items() <= found.items()


def test_a_learner_that_is_not_ready_yet_has_an_address_for_without_the_gate_it_never_is() -> None:
    services = manifests.of_kind(manifests.manifests("overlays/small"), "Service")
    assert services["learner"]["spec"]["publishNotReadyAddresses"]
    assert {name for name, each in services.items() if each["spec"].get("clusterIP") == "None"} == {"learner", "actor"}
    stateful = manifests.of_kind(manifests.manifests("overlays/small"), "StatefulSet")["learner"]
    assert stateful["spec"]["serviceName"] == "learner"


def test_addresses_name_services_and_their_ports() -> None:
    objects = manifests.manifests("overlays/small")
    services = manifests.of_kind(objects, "Service")
    named = [
        address
        for pod in manifests.pods(objects).values()
        for container in manifests.containers(pod)
        for address in manifests.settings_of(objects, container).values()
        if address.startswith("tcp://")
    ]
    assert len(named) == 3
    for address in named:
        host, _, port = address.removeprefix("tcp://").partition(":")
        assert int(port) in [each["port"] for each in services[host]["spec"]["ports"]]


# Keys


@each_rendering
def test_a_pod_mounts_the_keys_of_its_own_role_and_no_others(chosen: tuple[str, ...]) -> None:
    for pod in manifests.pods(manifests.manifests(*chosen)).values():
        role = manifests.role_of(pod)
        secrets = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
        assert [secret["secretName"] for secret in secrets] == [f"headrace-{role}-keys"]
        assert secrets[0]["defaultMode"] == 0o440
        (container,) = manifests.containers(pod)
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "keys")
        assert (mount["mountPath"], mount["readOnly"]) == (f"/keys/{role}", True)


@pytest.mark.parametrize("role", ROLES)
def test_the_secret_that_is_mounted_is_the_one_that_the_command_prints(role: Role) -> None:
    assert f"secretName: {key_secrets.secret_name(role)}\n" in manifests.rendered("overlays/small")


def test_no_key_is_in_what_is_committed() -> None:
    assert not any(manifests.of_kind(manifests.manifests(*chosen), "Secret") for chosen in RENDERED.values())


# Lives and deaths


@each_rendering
def test_there_is_one_gate_which_ends_before_its_successor_starts_and_one_learner(chosen: tuple[str, ...]) -> None:
    found = manifests.workloads(manifests.manifests(*chosen))
    gate = found["Deployment/replay-gate"]["spec"]
    assert (gate["replicas"], gate["strategy"]) == (1, {"type": "Recreate"})
    if "StatefulSet/learner" in found:
        assert found["StatefulSet/learner"]["spec"]["replicas"] == 1


@each_rendering
def test_probes_ask_over_http_and_a_slow_start_is_no_death(chosen: tuple[str, ...]) -> None:
    for pod in manifests.pods(manifests.manifests(*chosen)).values():
        (container,) = manifests.containers(pod)
        paths = {
            probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 120
        # Longer than the minute after which a service itself says that its loop stands.
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


@each_rendering
def test_memory_is_limited_to_what_is_requested_and_cpu_is_requested_and_not_limited(chosen: tuple[str, ...]) -> None:
    for pod in manifests.pods(manifests.manifests(*chosen)).values():
        (container,) = manifests.containers(pod)
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" in resources["requests"]
        assert "cpu" not in resources["limits"]


@each_rendering
def test_gate_and_learner_are_evicted_last(chosen: tuple[str, ...]) -> None:
    objects = manifests.manifests(*chosen)
    value = {name: each["value"] for name, each in manifests.of_kind(objects, "PriorityClass").items()}
    priority = {
        manifests.role_of(pod): value[pod["spec"]["priorityClassName"]] for pod in manifests.pods(objects).values()
    }
    assert priority["gate"] == priority["learner"] > priority["actor"]


@each_rendering
def test_a_budget_of_disruptions_is_for_actors_alone(chosen: tuple[str, ...]) -> None:
    objects = manifests.manifests(*chosen)
    budgets = manifests.of_kind(objects, "PodDisruptionBudget").values()
    guarded = {
        manifests.role_of(pod)
        for budget in budgets
        for pod in manifests.pods(objects).values()
        if selects(budget["spec"]["selector"]["matchLabels"], pod)
    }
    assert guarded == (set() if "train-job" in chosen else {"actor"})


@each_rendering
def test_actors_are_spread_over_zones_and_nodes_and_keep_nothing(chosen: tuple[str, ...]) -> None:
    (actor,) = (
        pod for pod in manifests.pods(manifests.manifests(*chosen)).values() if manifests.role_of(pod) == "actor"
    )
    keys = [each["topologyKey"] for each in actor["spec"]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(
        selects(each["labelSelector"]["matchLabels"], actor) for each in actor["spec"]["topologySpreadConstraints"]
    )
    assert [volume["name"] for volume in actor["spec"]["volumes"] if "persistentVolumeClaim" in volume] == []


def test_checkpoints_and_the_gates_account_are_on_volumes_that_outlive_pods() -> None:
    objects = manifests.manifests("overlays/small")
    learner = manifests.of_kind(objects, "StatefulSet")["learner"]["spec"]
    (claim,) = learner["volumeClaimTemplates"]
    (container,) = manifests.containers(learner["template"])
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert manifests.settings_of(objects, container)["HEADRACE_RUN_DIR"].startswith(mounted[claim["metadata"]["name"]])
    gate = manifests.pods(objects)["Deployment/replay-gate"]
    (container,) = manifests.containers(gate)
    (claimed,) = (volume for volume in gate["spec"]["volumes"] if "persistentVolumeClaim" in volume)
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert manifests.settings_of(objects, container)["HEADRACE_JOURNAL"].startswith(mounted[claimed["name"]])
    assert claimed["persistentVolumeClaim"]["claimName"] in manifests.of_kind(objects, "PersistentVolumeClaim")


# Components


def test_a_gpu_is_the_learners_alone() -> None:
    objects = manifests.manifests("overlays/small", "gpu")
    asking = {
        manifests.role_of(pod)
        for pod in manifests.pods(objects).values()
        for container in manifests.containers(pod)
        if "nvidia.com/gpu" in container["resources"]["limits"]
    }
    assert asking == {"learner"}
    (container,) = manifests.containers(manifests.pods(objects)["StatefulSet/learner"])
    assert manifests.settings_of(objects, container)["HEADRACE_DEVICE"] == "cuda"
    assert container["image"] != "headrace/learner:dev"


def test_actors_alone_are_on_preemptible_nodes_and_end_within_the_notice() -> None:
    found = manifests.pods(manifests.manifests("overlays/small", "spot"))
    on_spot = {name for name, pod in found.items() if "affinity" in pod["spec"]}
    tolerant = {name for name, pod in found.items() if "tolerations" in pod["spec"]}
    assert on_spot == tolerant == {"Deployment/actor"}
    assert found["Deployment/actor"]["spec"]["terminationGracePeriodSeconds"] < 30


def test_the_jobs_run_the_pods_of_the_deployment_and_the_stateful_set() -> None:
    usual = manifests.pods(manifests.manifests("overlays/small", "gpu", "spot"))
    jobs = manifests.pods(manifests.manifests("overlays/small", "gpu", "spot", "train-job"))
    for name, kind in (("learner", "StatefulSet"), ("actor", "Deployment")):
        before, after = usual[f"{kind}/{name}"], jobs[f"Job/{name}"]
        ((ran,), (runs,)) = (list(manifests.containers(pod)) for pod in (before, after))
        assert {**runs, "envFrom": None} == {**ran, "envFrom": None}
        assert after["metadata"]["labels"] == before["metadata"]["labels"]
        assert after["spec"]["restartPolicy"] == "OnFailure"
    parallelism = manifests.of_kind(manifests.manifests("overlays/small", "train-job"), "Job")["actor"]["spec"]
    assert parallelism["parallelism"] == 4
    assert "completions" not in parallelism


def test_of_a_finite_run_everybody_ends_and_who_was_only_stopped_has_not_finished() -> None:
    objects = manifests.manifests("overlays/small", "train-job")
    settings = {
        manifests.role_of(pod): manifests.settings_of(objects, container)
        for pod in manifests.pods(objects).values()
        for container in manifests.containers(pod)
    }
    assert settings["gate"]["HEADRACE_DISMISS_ACTORS"] == "true"
    for role in ("learner", "actor"):
        assert settings[role]["HEADRACE_STAY_UP"] == "false"
        assert settings[role]["HEADRACE_STOPPED_EXIT_STATUS"] != "0"


# What a reader is sent to


def test_every_overlay_and_component_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert {name for name in [*manifests.OVERLAYS, *manifests.COMPONENTS] if f"`{name}`" not in page} == set()


def test_nothing_lies_beside_what_is_rendered() -> None:
    for path in KUBERNETES.rglob("*"):
        if path.is_file() and path.name != "kustomization.yaml" and path.suffix not in (".py", ".pyc"):
            assert path.name in (path.parent / "kustomization.yaml").read_text(), path
