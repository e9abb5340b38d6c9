"""Prints the reference pages in docs/ from the code: `python -m headrace_proto.reference settings|metrics`.

A test holds the pages to what this prints.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable, Mapping

from annotated_types import Ge, Gt, Le, Lt
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector
from pydantic.fields import FieldInfo
from pydantic_settings import CliPositionalArg

from headrace_proto import settings
from headrace_proto.base_settings import Settings
from headrace_proto.conditions import conditions
from headrace_proto.metrics import ActorMetrics, EvaluatorMetrics, GateMetrics, LearnerMetrics
from headrace_proto.names import flag_name, variable_name

SERVICES: tuple[tuple[str, type[Settings]], ...] = (
    ("train", settings.TrainSettings),
    ("gate", settings.GateSettings),
    ("learner", settings.LearnerSettings),
    ("actor", settings.ActorSettings),
    ("evaluate", settings.EvaluateSettings),
    ("play", settings.PlaySettings),
    ("evaluator", settings.EvaluatorSettings),
    ("compare", settings.CompareSettings),
    ("keys", settings.KeysSettings),
)
_POSITIONAL = typing.get_args(CliPositionalArg[str])[1]


def documented(service: type[Settings]) -> dict[str, FieldInfo]:
    """The settings of a service by name: all but what is no flag, the runs after `headrace compare`."""
    return {name: field for name, field in service.model_fields.items() if _POSITIONAL not in field.metadata}


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting has one name: the flag, and the same as an environment variable. Flags win over the",
        "environment, the environment over the preset that is asked for, that over a resumed run's settings, those",
        "over the defaults. A variable with the prefix `HEADRACE_` that names no setting is an error.",
        "What a resumed run keeps: the checkpoint, all that the learner takes but its addresses, folders, device and",
        "threads; `headrace train`, in the run's `train.json`, also `--actors`, `--capacity`, `--lease-seconds` and",
        "`--straggler-updates`. The rest is the machine's or the start's, and is asked for anew.",
        "A checkpoint keeps the steps over which learning rate and epsilon fall, also where they came from `--steps`:",
        "resuming with another `--steps` changes neither schedule.",
        "*Only with*: elsewhere the setting does nothing, and train and the learner refuse a flag or a variable that",
        "asks for it before anything starts; what a preset or a checkpoint brings along is left alone. So an `.env` is",
        "of one algorithm: for another one, take out what the learner names. Other services mind none of it.",
        "*Taken by*: train, evaluate, play, compare and keys are commands of `headrace`; gate, learner, actor and",
        "evaluator are the services.",
        "",
        "| flag | variable | default | allowed | what | only with | taken by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    fields: dict[str, FieldInfo] = {}
    for _, service in SERVICES:
        fields = {**documented(service), **fields}
    for name, field in sorted(fields.items()):
        shown = field.alias or name
        takers = {title: service.model_fields[name] for title, service in SERVICES if name in service.model_fields}
        cells = (
            f"`{flag_name(shown)}`",
            f"`{variable_name(shown)}`",
            _default(takers),
            _allowed(field),
            field.description or "",
            " or ".join(f"`{condition}`" for condition in conditions(field)),
            ", ".join(takers),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Every service serves its metrics on `/metrics`; `/healthz` says whether its loop turns and what it waits for,",
        "`/readyz` whether it is ready, and any other path is 404. `headrace train` writes all addresses to",
        "`runs/<name>/targets.json`, in the form of Prometheus's `file_sd_configs`.",
        "",
        "`python -m headrace_proto.healthcheck PORT` asks `/readyz` on this machine: exit status 0 if the service is",
        "ready, else 1.",
        "",
        "Every sample has the label `run` besides, the name of the run's folder, as soon as the service knows it: gate",
        "and actors have it from the learner. Every service exports `process_start_time_seconds`,",
        "`process_resident_memory_bytes` and what else Prometheus's client knows of its process.",
    ]
    services = {"gate": GateMetrics, "learner": LearnerMetrics, "actor": ActorMetrics, "evaluator": EvaluatorMetrics}
    for service, metrics in services.items():
        registry = _Declarations()
        metrics(registry)
        lines += ["", f"## {service}", "", "| metric | type | labels | what |", "| --- | --- | --- | --- |"]
        lines += _metric_rows(registry.collect(), registry.labels)
    return "\n".join(lines) + "\n"


class _Declarations(CollectorRegistry):
    """Knows the labels that metrics are declared with: samples tell only those of labels that were used already."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, tuple[str, ...]] = {}

    def register(self, collector: Collector) -> None:
        """As every registry."""
        super().register(collector)
        if isinstance(collector, MetricWrapperBase):
            self.labels.update({metric.name: tuple(collector._labelnames) for metric in collector.describe()})


def _metric_rows(collected: Iterable[Metric], declared: Mapping[str, tuple[str, ...]]) -> list[str]:
    rows = []
    for metric in collected:
        name = metric.name + ("_total" if metric.type == "counter" else "")
        seen = {label for sample in metric.samples for label in sample.labels} - {"le"}
        labels = sorted(seen.union(declared.get(metric.name, ())))
        rows.append(f"| `{name}` | {metric.type} | {', '.join(labels)} | {metric.documentation} |")
    return rows


def _default(takers: Mapping[str, FieldInfo]) -> str:
    """The default, or each taker's where they differ."""
    defaults = {taker: _written_default(field) for taker, field in takers.items()}
    if len(set(defaults.values())) == 1:
        return next(iter(defaults.values()))
    return ", ".join(f"{taker} {default}" for taker, default in defaults.items() if default)


def _written_default(field: FieldInfo) -> str:
    if field.default is None:
        return ""
    value = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    choices = [
        str(value)
        for part in _parts(field.annotation)
        if typing.get_origin(part) is typing.Literal
        for value in typing.get_args(part)
    ]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = [_limit(limit) for limit in field.metadata]
    return ", ".join(limit for limit in limits if limit)


def _parts(annotation: object) -> tuple[object, ...]:
    return typing.get_args(annotation) if type(None) in typing.get_args(annotation) else (annotation,)


def _limit(limit: object) -> str:
    if isinstance(limit, Ge):
        return f"at least {limit.ge:,}"
    if isinstance(limit, Gt):
        return f"above {limit.gt:,}"
    if isinstance(limit, Le):
        return f"at most {limit.le:,}"
    if isinstance(limit, Lt):
        return f"below {limit.lt:,}"
    return ""


if __name__ == "__main__":
    page = {"settings": settings_page, "metrics": metrics_page}[sys.argv[1]]
    print(page(), end="")
