"""What Prometheus is told, held against what the services export and what the person on call can read.

That rules and tests are valid, promtool says in `tests/containers/test_prometheus.py`; here the files are only text.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from headrace_proto.metrics import ActorMetrics, EvaluatorMetrics, GateMetrics, LearnerMetrics
from headrace_proto.settings import ActorSettings, EvaluatorSettings, GateSettings, LearnerSettings, ServiceSettings

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
OPERATIONS = ROOT / "docs" / "operations.md"

SCRAPED: dict[str, type[ServiceSettings]] = {
    "headrace-gate": GateSettings,
    "headrace-learner": LearnerSettings,
    "headrace-actor": ActorSettings,
    "headrace-evaluator": EvaluatorSettings,
}


def read(name: str) -> str:
    """A file without its comments."""
    return re.sub(r"(^| )#.*$", "", (PROMETHEUS / name).read_text(), flags=re.MULTILINE)


def rules(kind: str, name: str) -> list[tuple[str, str]]:
    """Name and text of every rule of a file, in its order."""
    _, *parts = re.split(rf"^ +- {kind}: (\S+)\n", read(name), flags=re.MULTILINE)
    return list(zip(parts[::2], parts[1::2], strict=True))


ALERTS = rules("alert", "alerts.yml")
RECORDED = rules("record", "recording.yml")
EVERY_RULE = [*RECORDED, *ALERTS, *rules("record", "kubernetes.yml"), *rules("alert", "kubernetes.yml")]
each_alert = pytest.mark.parametrize(("alert", "text"), ALERTS, ids=[alert for alert, _ in ALERTS])


def exported() -> set[str]:
    """Every series that a service serves."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    names = {"up"}
    for service in (ActorMetrics, GateMetrics, LearnerMetrics, EvaluatorMetrics):
        of_service = CollectorRegistry()
        service(of_service)
        for metric in [*registry.collect(), *of_service.collect()]:
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            names |= {metric.name + suffix for suffix in suffixes}
    return names


def cases() -> list[tuple[str, bool]]:
    """Alert, and whether it must fire, of every case that promtool tries."""
    found = []
    for path in sorted((PROMETHEUS / "tests").glob("*.yml")):
        _, *parts = re.split(r"alertname: (\w+)", path.read_text())
        found += [(alert, "exp_alerts:" in text) for alert, text in zip(parts[::2], parts[1::2], strict=True)]
    return found


def test_the_symptoms_that_somebody_must_hear_of_have_an_alert() -> None:
    assert {alert for alert, _ in ALERTS} == {
        "HeadraceTargetDown",
        "HeadraceNoProgress",
        "HeadraceNoActors",
        "HeadraceLearnerStarved",
        "HeadraceActorsBlocked",
        "HeadraceLagAboveBound",
        "HeadraceNonFiniteStop",
        "HeadraceCheckpointTooOld",
        "HeadraceFailedHandshakes",
        "HeadraceCrashLoop",
    }


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_happened(alert: str, text: str) -> None:
    assert re.search(r"^ +severity: (critical|warning)$", text, re.MULTILINE)
    assert re.search(r"^ +summary: \S", text, re.MULTILINE)
    assert re.search(r"^ +description: \S", text, re.MULTILINE)


@each_alert
def test_an_alert_points_to_its_section_for_the_person_on_call(alert: str, text: str) -> None:
    assert f"runbook_url: docs/operations.md#{alert.lower()}\n" in text
    sections = re.findall(r"^#+ (\w+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert alert in sections


@each_alert
@pytest.mark.parametrize("fires", [True, False], ids=["fires", "stays quiet"])
def test_an_alert_has_a_case_in_which_it(alert: str, text: str, fires: bool) -> None:
    assert (alert, fires) in cases()


@pytest.mark.parametrize(("rule", "text"), EVERY_RULE, ids=[rule for rule, _ in EVERY_RULE])
def test_a_rule_asks_only_for_what_is_exported_or_recorded(rule: str, text: str) -> None:
    asked = set(re.findall(r"\b(?:up\b|headrace_\w+|process_\w+|run(?:_\w+)?:[\w:]+)", text.partition("labels:")[0]))
    assert asked
    assert asked <= exported() | {record for record, _ in RECORDED}


def test_every_job_that_an_alert_names_is_scraped_at_the_port_where_its_service_listens() -> None:
    named = set(re.findall(r"headrace-\w+", " ".join(text.partition("labels:")[0] for _, text in ALERTS)))
    assert named <= SCRAPED.keys()
    _, *parts = re.split(r"job_name: (headrace-\S+)", read("prometheus.yml"))
    ports = {
        job: re.findall(r"(?::|port: )(\d{4,5})\b", text) for job, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert ports == {job: [str(settings.model_fields["metrics_port"].default)] for job, settings in SCRAPED.items()}
