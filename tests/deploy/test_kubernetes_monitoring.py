"""What the cluster's own controllers are asked for: scraping, rules, dashboards, scaling.

Their custom resources have no schema here; they are held against the fields that their published definitions require
(prometheus-operator 0.93 `monitoring.coreos.com/v1`, KEDA 2.21 `keda.sh/v1alpha1`), and against what they refer to.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import manifests
import prometheus_rule
import pytest
import yaml
from manifests import ROOT, Manifest

from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import GateSettings

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
MONITORED = manifests.manifests("overlays/small", "monitoring")
RULES = ("recording.yml", "alerts.yml", "kubernetes.yml")
DURATION = re.compile(r"\d+(ms|s|m|h)")


def groups(name: str) -> list[Any]:
    found: list[Any] = yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    return found


def required(value: Any, path: str) -> list[Any]:
    """What stands at a path, in every item of a list where it says so; fails where anything is missing."""
    found = [value]
    for part in path.split("."):
        name = part.removesuffix("[]")
        assert all(name in each for each in found), f"{path}: no {name}"
        found = [each[name] for each in found]
        if part.endswith("[]"):
            assert all(found), f"{path}: {name} is empty"
            found = [item for each in found for item in each]
    return found


BEHAVIOR = "spec.advanced.horizontalPodAutoscalerConfig.behavior"
REQUIRED = {
    "PodMonitor": ("spec.selector", "spec.podMetricsEndpoints[].port"),
    "PrometheusRule": ("spec.groups[].name", "spec.groups[].rules[].expr"),
    "ScaledObject": (
        *("spec.scaleTargetRef.name", "spec.triggers[].type", "spec.triggers[].metadata"),
        *(
            f"{BEHAVIOR}.{way}.policies[].{name}"
            for way in ("scaleUp", "scaleDown")
            for name in ("type", "value", "periodSeconds")
        ),
    ),
}


@pytest.mark.parametrize("chosen", manifests.RENDERED.values(), ids=manifests.RENDERED.keys())
def test_a_custom_resource_has_the_fields_that_its_definition_requires(chosen: tuple[str, ...]) -> None:
    custom = [each for each in manifests.manifests(*chosen) if "." in each["apiVersion"].partition(".k8s.io")[0]]
    for each in custom:
        assert each["apiVersion"] in ("monitoring.coreos.com/v1", "keda.sh/v1alpha1")
        for path in REQUIRED[each["kind"]]:
            required(each, path)


def test_a_field_that_is_missing_is_seen() -> None:
    (rules,) = manifests.of_kind(MONITORED, "PrometheusRule").values()
    lacking = copy.deepcopy(rules)
    del lacking["spec"]["groups"][0]["rules"][0]["expr"]

    required(rules, "spec.groups[].rules[].expr")
    with pytest.raises(AssertionError, match="no expr"):
        required(lacking, "spec.groups[].rules[].expr")


# Scraping


def test_pod_monitors_scrape_every_pod_at_its_port_as_the_job_that_the_rules_name() -> None:
    scraped = {}
    for monitor in manifests.of_kind(MONITORED, "PodMonitor").values():
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        spec = monitor["spec"]
        assert set(spec) == {"selector", "podMetricsEndpoints", "jobLabel"}  # the first is required
        (endpoint,) = spec["podMetricsEndpoints"]
        for pod in manifests.pods(MONITORED).values():
            labels = pod["metadata"]["labels"]
            if chosen(spec["selector"], labels):
                (container,) = manifests.containers(pod)
                ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                scraped[labels[spec["jobLabel"]]] = ports[endpoint["port"]]
        assert endpoint["path"] == "/metrics"
        assert DURATION.fullmatch(endpoint["interval"])
        assert int(endpoint["scrapeTimeout"][:-1]) < int(endpoint["interval"][:-1])
    jobs = dict(re.findall(r"job_name: (headrace-\w+)(?:(?!job_name).)*?(?::|port: )(91\d\d)", prometheus(), re.DOTALL))
    assert {job: str(port) for job, port in scraped.items()} == {
        job: port for job, port in jobs.items() if job != "headrace-evaluator"
    }


def prometheus() -> str:
    return (PROMETHEUS / "prometheus.yml").read_text()


def chosen(selector: Manifest, labels: dict[str, str]) -> bool:
    matches: dict[str, str] = selector.get("matchLabels", {})
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return matches.items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


# Rules


def test_the_rules_are_those_of_prometheus() -> None:
    (rule,) = manifests.of_kind(MONITORED, "PrometheusRule").values()
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"]["groups"] == [group for name in RULES for group in groups(name)]
    for group in rule["spec"]["groups"]:
        assert {"name", "rules"} <= set(group)
        assert all("expr" in each and ("alert" in each) != ("record" in each) for each in group["rules"])


def test_the_committed_rules_are_as_the_program_writes_them() -> None:
    again = "make it again: python deploy/kubernetes/prometheus_rule.py"
    assert prometheus_rule.WRITTEN.read_text() == prometheus_rule.text(), again


def test_the_clusters_own_alert_has_a_section_and_a_case_that_fires_and_one_that_does_not() -> None:
    (alert,) = (each for group in groups("kubernetes.yml") for each in group["rules"] if "alert" in each)
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert re.search(rf"^#+ {alert['alert']}$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == alert["alert"].lower()
    tests = yaml.safe_load((PROMETHEUS / "tests" / "kubernetes.yml").read_text())["tests"]
    fires = {"exp_alerts" in case for test in tests for case in test.get("alert_rule_test", [])}
    assert fires == {True, False}


# Dashboards


def test_dashboards_are_those_of_grafana_in_config_maps_that_its_sidecar_finds() -> None:
    labelled = {
        name: each
        for name, each in manifests.of_kind(MONITORED, "ConfigMap").items()
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    }
    shown = {file: text for each in labelled.values() for file, text in each["data"].items()}
    assert shown == {path.name: path.read_text() for path in DASHBOARDS.iterdir()}
    # `kubectl apply` keeps a copy of the object in an annotation, which may have 256 KiB.
    assert all(len(json.dumps(each)) < 256 * 1024 for each in labelled.values())


# Scaling

SCALED = {"keda": ("overlays/small", "autoscale-keda"), "hpa": ("overlays/small", "autoscale-hpa")}
WITH_KEDA = {"small": SCALED["keda"], "cluster": ("overlays/cluster",)}


@pytest.mark.parametrize("selected", WITH_KEDA.values(), ids=WITH_KEDA.keys())
def test_a_scaled_object_has_what_keda_needs(selected: tuple[str, ...]) -> None:
    (scaled,) = manifests.of_kind(manifests.manifests(*selected), "ScaledObject").values()
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"]["scaleTargetRef"] == {"name": "actor"}
    (trigger,) = scaled["spec"]["triggers"]
    assert (trigger["type"], trigger["metricType"]) == ("prometheus", "AverageValue")
    assert {"serverAddress", "query", "threshold"} <= set(trigger["metadata"])
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    recorded = {each.get("record") for group in groups("kubernetes.yml") for each in group["rules"]}
    assert re.findall(r"[\w:]*headrace[\w:]*", trigger["metadata"]["query"])[0] in recorded


def bounds(objects: list[Manifest]) -> tuple[int, int]:
    """Fewest and most actors."""
    for scaled in manifests.of_kind(objects, "ScaledObject").values():
        return scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]
    (scaler,) = manifests.of_kind(objects, "HorizontalPodAutoscaler").values()
    return scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]


@pytest.mark.parametrize("selected", [*SCALED.values(), ("overlays/cluster",)])
def test_there_are_never_more_actors_than_the_capacity_can_feed_and_apply_leaves_their_number_alone(
    selected: tuple[str, ...],
) -> None:
    objects = manifests.manifests(*selected)
    found = {
        manifests.role_of(pod): manifests.settings_of(objects, container)
        for pod in manifests.pods(objects).values()
        for container in manifests.containers(pod)
    }
    learner = {name.removeprefix("HEADRACE_").lower(): value for name, value in found["learner"].items()}
    of_run: dict[str, Any] = {name: value for name, value in learner.items() if name in RunSettings.model_fields}
    run = RunSettings(**of_run)
    of_gate: dict[str, Any] = {name.removeprefix("HEADRACE_").lower(): value for name, value in found["gate"].items()}
    gate = GateSettings(**of_gate)
    credit = run.environments_per_actor * run.rollout_transitions
    fewest, most = bounds(objects)
    assert 1 <= fewest <= most <= gate.capacity // credit
    assert "replicas" not in manifests.of_kind(objects, "Deployment")["actor"]["spec"]


def test_the_cluster_has_up_to_64_actors() -> None:
    assert bounds(manifests.manifests("overlays/cluster"))[1] == 64


def test_both_scalers_follow_the_same_number_to_the_same_target_in_the_same_steps() -> None:
    (scaled,) = manifests.of_kind(manifests.manifests(*SCALED["keda"]), "ScaledObject").values()
    (scaler,) = manifests.of_kind(manifests.manifests(*SCALED["hpa"]), "HorizontalPodAutoscaler").values()
    (trigger,), (metric,) = scaled["spec"]["triggers"], scaler["spec"]["metrics"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "800m"}
    assert trigger["metadata"]["threshold"] == "0.8"
    assert metric["external"]["metric"]["name"] in trigger["metadata"]["query"]
    assert scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaler["spec"]["behavior"]
    windows = {way: rule["stabilizationWindowSeconds"] for way, rule in scaler["spec"]["behavior"].items()}
    assert windows["scaleDown"] > windows["scaleUp"] > 0


def test_the_adapters_rule_in_the_documentation_serves_what_the_autoscaler_asks_for() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (scaler,) = manifests.of_kind(manifests.manifests(*SCALED["hpa"]), "HorizontalPodAutoscaler").values()
    assert f"as: {scaler['spec']['metrics'][0]['external']['metric']['name']}" in page
