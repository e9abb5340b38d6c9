"""Grafana's dashboards: as the program writes them, readable, and asking only for what there is.

Whether the queries give data, `tests/containers/test_dashboards_have_data.py` tries.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generate
import panel_queries
import pytest
from prometheus_client import CollectorRegistry, ProcessCollector

from headrace_grafana import units
from headrace_proto.metrics import ActorMetrics, EvaluatorMetrics, GateMetrics, LearnerMetrics
from headrace_proto.settings import ActorSettings, EvaluatorSettings, GateSettings, LearnerSettings

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
SERVICE_METRICS = (ActorMetrics, GateMetrics, LearnerMetrics, EvaluatorMetrics)
SERVICE_SETTINGS = (ActorSettings, GateSettings, LearnerSettings, EvaluatorSettings)
COLUMNS = 24
LABELS_OF_LEVEL = {"run": {"run"}, "run_waiting_for": {"run", "waiting_for"}}
SERIES = re.compile(r"\b(?:headrace_\w+|process_\w+|run(?:_\w+)?:[\w:]+)")

LIMITS: dict[str, Callable[..., float]] = {
    r"[Aa]bove (\d+) %": lambda percent: int(percent) / 100,
    r"of the default, (\d+)": float,
    r"(\d+) and more": float,
    r"[Aa]bove an hour": lambda: 3600.0,
    r"at all\b|\bAny: |Anything but 0": lambda: 1.0,
}
"""Words of a description that name a limit, and the number that they stand for."""

DASHBOARDS = panel_queries.dashboards()
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items()
    for panel in panel_queries.panels(dashboard)
]
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())
each_panel = pytest.mark.parametrize("panel", PANELS)

Json = dict[str, Any]


def exported() -> set[str]:
    """Every series that a service serves."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    names = set()
    for service in SERVICE_METRICS:
        of_service = CollectorRegistry()
        service(of_service)
        for metric in [*registry.collect(), *of_service.collect()]:
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            names |= {metric.name + suffix for suffix in suffixes}
    return names


def recorded() -> set[str]:
    """Every series that Prometheus's recording rules make."""
    return set(re.findall(r"^ +- record: (\S+)$", (PROMETHEUS / "recording.yml").read_text(), re.MULTILINE))


def expressions(panel: Json) -> str:
    return "\n".join(target["expr"] for target in panel["targets"])


# As the program writes them


def test_the_committed_dashboards_are_those_of_the_program() -> None:
    written = {dashboard.name: generate.text_of(dashboard) for dashboard in generate.DASHBOARDS}
    committed = {path.stem: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}
    assert committed == written, "make them again: python deploy/grafana/generate.py"


# What is asked


@each_panel
def test_a_query_asks_only_for_what_is_exported_or_recorded(panel: Json) -> None:
    for target in panel["targets"]:
        asked = set(SERIES.findall(target["expr"]))
        assert asked
        assert asked <= exported() | recorded()


@each_panel
def test_every_series_of_a_query_is_of_the_chosen_runs(panel: Json) -> None:
    for target in panel["targets"]:
        selectors = re.findall(SERIES.pattern + r"(\{[^}]*\})?", target["expr"])
        assert all(re.search(r'[{ ]run=~"\$run"\}', selector) for selector in selectors), target["expr"]


@each_dashboard
def test_every_variable_that_is_used_is_defined_and_the_other_way_round(dashboard: Json) -> None:
    used = {
        name
        for panel in panel_queries.panels(dashboard)
        for name in re.findall(r"\$\{?(\w+)", expressions(panel) + panel["title"] + panel["description"])
    }
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert used - {"__rate_interval"} == defined == {"run"}


@each_dashboard
def test_the_variable_run_offers_every_run_and_begins_with_all_of_them(dashboard: Json) -> None:
    (run,) = dashboard["templating"]["list"]
    assert run["query"]["query"] == run["definition"] == "label_values(headrace_build_info, run)"
    assert (run["multi"], run["includeAll"], run["current"]["value"]) == (True, True, ["$__all"])
    assert run["allValue"] == ".*", "also what knows no run yet"


@pytest.mark.parametrize(
    ("dashboard", "metrics"),
    [
        ("throughput", "run:headrace_actor_env_steps:rate1m run:headrace_actor_frames:rate1m"),
        ("throughput", "headrace_actor_env_steps_total headrace_actor_frames_total"),
        ("throughput", "run:headrace_learner_updates:rate1m"),
        ("throughput", "headrace_gate_alive_transitions headrace_gate_capacity_transitions"),
        ("throughput", "headrace_gate_granted_transitions headrace_gate_queued_transitions"),
        ("throughput", "headrace_gate_untrained_transitions"),
        ("throughput", "headrace_gate_received_bytes_total headrace_gate_sent_bytes_total"),
        ("throughput", "headrace_learner_published_bytes_total"),
        ("throughput", "run_waiting_for:headrace_actor_blocked_seconds:avg_rate5m"),
        ("throughput", "run:headrace_learner_batch_wait_seconds:rate5m"),
        ("throughput", "headrace_learner_policy_lag_updates_bucket headrace_learner_policy_lag_bound_updates"),
        ("throughput", "headrace_gate_rejected_transitions_total headrace_gate_lost_transitions_total"),
        ("throughput", "headrace_handshake_failures_total"),
        ("learning", "headrace_learner_episode_return_mean headrace_evaluator_return_mean"),
        ("learning", "headrace_actor_episode_length_steps_bucket"),
        ("learning", "headrace_learner_loss headrace_learner_q_value_mean headrace_learner_gradient_norm"),
        ("learning", "headrace_learner_epsilon headrace_learner_learning_rate"),
        ("learning", "headrace_learner_replay_size_transitions headrace_learner_replay_max_size_transitions"),
        ("learning", "headrace_learner_replay_samples_per_insert headrace_learner_replay_sample_age_versions_bucket"),
        ("learning", "headrace_learner_replay_sample_age_max_versions"),
        ("learning", "headrace_learner_replay_sample_age_bound_versions"),
        ("learning", "headrace_learner_checkpoint_timestamp_seconds process_start_time_seconds"),
    ],
)
def test_what_somebody_must_be_able_to_see_is_there(dashboard: str, metrics: str) -> None:
    asked = "\n".join(expressions(panel) for panel in panel_queries.panels(DASHBOARDS[dashboard]))
    assert set(metrics.split()) <= set(SERIES.findall(asked))


def test_what_a_replay_shows_stands_in_a_row_of_its_own() -> None:
    rows: dict[str, list[Json]] = {}
    for panel in DASHBOARDS["learning"]["panels"]:
        if panel["type"] == "row":
            row = rows.setdefault(panel["title"], [])
        else:
            row.append(panel)
    of_replay = {
        title: ["headrace_learner_replay_" in expressions(panel) for panel in row] for title, row in rows.items()
    }
    assert all(of_replay.pop("Replay"))
    assert not any(any(row) for row in of_replay.values())


# How it looks


@each_dashboard
def test_identities_and_titles_are_there_once(dashboard: Json) -> None:
    for name in ("id", "title"):
        values = [panel[name] for panel in dashboard["panels"]]
        assert len(set(values)) == len(values)


@each_dashboard
def test_panels_fill_the_grid_and_do_not_overlap(dashboard: Json) -> None:
    cells: list[tuple[int, int]] = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells += itertools.product(columns, range(place["y"], place["y"] + place["h"]))
    lowest = max(y for _, y in cells)
    assert sorted(cells) == sorted(itertools.product(range(COLUMNS), range(lowest + 1)))


@each_panel
def test_a_panel_has_a_unit(panel: Json) -> None:
    known = {value for name, value in vars(units).items() if name.isupper()}
    assert panel["fieldConfig"]["defaults"]["unit"] in known


@each_panel
def test_its_description_says_what_it_shows_what_is_bad_and_what_to_do(panel: Json) -> None:
    shows, bad, remedy = panel["description"].split("\n\n")
    assert (bad[:9], remedy[:8]) == ("**Bad:** ", "**Do:** ")
    for sentence in (shows, bad, remedy):
        assert len(sentence) > 15
        assert sentence.endswith((".", "?"))


@each_panel
def test_its_description_names_only_settings_and_alerts_that_exist(panel: Json) -> None:
    text = panel["description"]
    variables = {"HEADRACE_" + name.upper() for service in SERVICE_SETTINGS for name in service.model_fields}
    assert set(re.findall(r"HEADRACE_\w+", text)) <= variables
    alerts = re.findall(r"alert: (\w+)", (PROMETHEUS / "alerts.yml").read_text())
    assert set(re.findall(r"Headrace[A-Z]\w+", text)) <= set(alerts)


@each_panel
def test_every_series_has_a_name_and_its_labels_are_kept_by_the_query(panel: Json) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        assert labels
        kept = {name for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in by.split(", ")}
        for level in re.findall(r"\b(run(?:_\w+)?):", target["expr"]):
            kept |= LABELS_OF_LEVEL[level]
        assert set(labels) <= kept


@each_panel
def test_thresholds_rise(panel: Json) -> None:
    first, *values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    assert first is None
    assert values == sorted(values)


@each_panel
def test_a_limit_that_its_description_names_is_drawn(panel: Json) -> None:
    bad = panel["description"].split("\n\n")[1]
    named = [limit(*found.groups()) for words, limit in LIMITS.items() for found in re.finditer(words, bad)]
    drawn = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
    # Where 100 % is still good, a little more is drawn.
    assert [limit for limit in named if pytest.approx(limit, rel=0.002) not in drawn] == []
    if re.search("[Aa]bove the (capacity|bound)", bad):
        assert panel["fieldConfig"]["overrides"]
    if panel["type"] == "timeseries":
        assert (panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"] == "dashed") == bool(drawn)


def test_the_limits_that_alerts_and_defaults_set_are_drawn() -> None:
    drawn = {
        panel["title"]: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for dashboard in DASHBOARDS.values()
        for panel in panel_queries.panels(dashboard)
    }
    alerts = (PROMETHEUS / "alerts.yml").read_text()
    for title, series in {
        "The learner's time": "run:headrace_learner_batch_wait_seconds:rate5m",
        "Blocked share of actors": 'avg_rate5m{waiting_for=~"gate|weights"}',
    }.items():
        assert drawn[title] == [float(share) for share in re.findall(rf"{re.escape(series)} > ([\d.]+)", alerts)]
    assert drawn["Gradient norm"] == [LearnerSettings.model_fields["gradient_clip"].default]
    assert drawn["Rejected transitions"] == drawn["Lost transitions"] == drawn["Failed handshakes"] == [1]


@each_panel
def test_a_limit_is_drawn_for_a_series_that_there_is(panel: Json) -> None:
    for override in panel["fieldConfig"]["overrides"]:
        pattern = override["matcher"]["options"].strip("/")
        assert any(re.search(pattern, target["legendFormat"]) for target in panel["targets"])


# Where Grafana finds them


@each_dashboard
def test_every_query_goes_to_the_data_source_that_is_provisioned(dashboard: Json) -> None:
    provisioned = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    (uid,) = re.findall(r"^ +uid: (\S+)$", provisioned, re.MULTILINE)
    expected = {"type": "prometheus", "uid": uid}
    found = [*panel_queries.panels(dashboard), *dashboard["templating"]["list"], *dashboard["annotations"]["list"]]
    found += [target for panel in panel_queries.panels(dashboard) for target in panel["targets"]]
    assert [asked["datasource"] for asked in found] == [expected] * len(found)


def test_grafana_looks_for_dashboards_where_they_are_mounted() -> None:
    provider = (GRAFANA / "provisioning" / "dashboards" / "headrace.yml").read_text()
    (path,) = re.findall(r"^ +path: (\S+)$", provider, re.MULTILINE)
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"./deploy/grafana/dashboards:{path}:ro" in compose
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in compose


def test_grafana_knows_how_often_prometheus_scrapes() -> None:
    provisioned = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    (interval,) = re.findall(r"timeInterval: (\w+)", provisioned)
    assert f"scrape_interval: {interval}" in (PROMETHEUS / "prometheus.yml").read_text()
