"""A deployment's day: sixteen actors, killed processes, scaling, strangers, an evening's end and a second start."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers.conftest import Deploy
from containers.deployment import Deployment, run
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until

from headrace_proto import keys

SERVICES = ("replay-gate", "learner", "actor", "prometheus")
MINUTES = 60.0

GET_METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9101/metrics').read().decode())"

KILL_SERVICE = """
for process in /proc/[0-9]*; do
    case $(cat $process/comm) in headrace-*) kill -KILL ${process#/proc/};; esac
done
"""
"""Kills the service below init; unlike `docker kill`, which the engine takes for a stop by a person."""

HEARS_WEIGHTS = """
import time, zmq
from headrace_proto import logs
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets

sockets = ServiceSockets("actor", ActorSettings(), logs.configure("listener", "error"))
socket = sockets.make(zmq.SUB)
socket.subscribe(b"")
sockets.connect(socket, "tcp://learner:5558", "weights-address", server="learner")
print("heard" if socket.poll(10_000) else "nothing")
sockets.close(linger=0)
"""


@pytest.fixture(scope="module")
def deployment(deploy: Deploy) -> Deployment:
    """Sixteen actors that train CartPole, up and healthy."""
    made = deploy(HEADRACE_GAME="CartPole-v1", HEADRACE_STEPS=100_000_000, HEADRACE_SAVE_EVERY=20_000)
    made.up(*SERVICES, actor=16)
    return made


def gate_metrics(deployment: Deployment) -> Counter[str]:
    """Sums of the gate's metrics over their labels, all of one moment."""
    text = deployment.compose("exec", "-T", "replay-gate", "python", "-c", GET_METRICS)
    sums: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name.removeprefix("headrace_gate_")] += sample.value  # type: ignore[assignment]
    return sums


def assert_account_closes(deployment: Deployment) -> None:
    account = gate_metrics(deployment)
    settled = sum(account[f"{end}_transitions_total"] for end in ("returned", "trained", "rejected", "lost"))
    assert account["promised_transitions_total"] == settled + account["alive_transitions"], account
    assert account["alive_transitions"] <= account["capacity_transitions"]


def trains_on(deployment: Deployment, transitions: int = 2_000) -> None:
    """Wait until so many more are trained."""
    target = gate_metrics(deployment)["trained_transitions_total"] + transitions
    wait_until(lambda: gate_metrics(deployment)["trained_transitions_total"] >= target, seconds=5 * MINUTES)


def has_actors(deployment: Deployment, count: int) -> None:
    """Wait until the gate knows so many, and Prometheus has found all of them."""
    wait_until(lambda: gate_metrics(deployment)["actors"] == count, seconds=5 * MINUTES)
    wait_until(lambda: deployment.value('sum(up{job="headrace-actor"})') == count, seconds=5 * MINUTES)


def containers(deployment: Deployment, *services: str) -> dict[str, dict[str, Any]]:
    """What the engine says of each container, by service and number: `actor-3`."""
    return {
        f"{service}-{each['Config']['Labels']['com.docker.compose.container-number']}": each
        for service in services
        for each in deployment.containers(service)
    }


def starts(deployment: Deployment, *services: str) -> dict[str, str]:
    """When each container's process was started last."""
    return {name: each["State"]["StartedAt"] for name, each in containers(deployment, *services).items()}


def restarts(deployment: Deployment, *services: str) -> dict[str, int]:
    """How often the engine has started each container again by itself."""
    return {name: each["RestartCount"] for name, each in containers(deployment, *services).items()}


def is_healthy(deployment: Deployment, service: str) -> None:
    """Wait until every container of a service says that it is."""

    def answers() -> bool:
        return {each["State"]["Health"]["Status"] for each in deployment.containers(service)} == {"healthy"}

    wait_until(answers, seconds=5 * MINUTES)


def test_sixteen_actors_join_and_are_found_and_training_advances(deployment: Deployment) -> None:
    has_actors(deployment, 16)
    trains_on(deployment)
    assert_account_closes(deployment)
    assert deployment.value("sum(headrace_actor_env_steps_total)") > 0
    assert deployment.query('sum(headrace_handshake_failures_total{reason!="broken"})') == [({}, 0.0)]


def test_killed_processes_are_started_again_and_the_account_closes(deployment: Deployment) -> None:
    for actor in (1, 2, 3):
        deployment.compose("exec", "-T", "--index", str(actor), "actor", "sh", "-c", KILL_SERVICE)
    wait_until(lambda: sum(restarts(deployment, "actor").values()) == 3)
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)

    deployment.compose("exec", "-T", "learner", "sh", "-c", KILL_SERVICE)
    wait_until(lambda: gate_metrics(deployment)["learner_restarts_total"] == 1, seconds=5 * MINUTES)
    trains_on(deployment)
    assert_account_closes(deployment)

    deployment.compose("exec", "-T", "replay-gate", "sh", "-c", KILL_SERVICE)
    wait_until(lambda: restarts(deployment, "replay-gate") == {"replay-gate-1": 1})
    is_healthy(deployment, "replay-gate")
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)

    counted = restarts(deployment, "replay-gate", "learner", "actor")
    killed = {"replay-gate-1", "learner-1", "actor-1", "actor-2", "actor-3"}
    assert counted == {name: int(name in killed) for name in counted}


def test_killed_containers_stop_nobody_else_and_start_brings_them_back(deployment: Deployment) -> None:
    before = containers(deployment, "replay-gate", "learner", "actor")
    killed = ["replay-gate-1", "learner-1", "actor-4", "actor-5", "actor-6"]
    run(["docker", "kill", "--signal", "KILL", *(before[name]["Id"] for name in killed)], Path.cwd())

    deployment.compose("start")

    is_healthy(deployment, "replay-gate")
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)
    after = starts(deployment, "replay-gate", "learner", "actor")
    assert {name for name, each in before.items() if after[name] != each["State"]["StartedAt"]} == set(killed)


@pytest.mark.parametrize("replicas", [2, 16, 4])
def test_scaling_while_it_trains_restarts_nobody(deployment: Deployment, replicas: int) -> None:
    before = starts(deployment, "replay-gate", "learner", "prometheus", "actor")
    deployment.up(*SERVICES, actor=replicas)

    has_actors(deployment, replicas)
    trains_on(deployment)

    assert_account_closes(deployment)
    after = starts(deployment, "replay-gate", "learner", "prometheus", "actor")
    assert all(after[name] == start for name, start in before.items() if name in after)


@pytest.fixture
def foreign_keys(deployment: Deployment, tmp_path: Path) -> Path:
    """Keys of somebody who knows everybody's public keys and has no known key."""
    keys.make(tmp_path)
    for server in ("gate", "learner"):
        public = tmp_path / "actor" / f"{server}.pub"
        public.unlink()
        public.write_text(
            deployment.compose("exec", "-T", "actor", "cat", f"/keys/actor/{server}.pub"),
        )
    return tmp_path


@pytest.fixture
def stranger(deployment: Deployment, foreign_keys: Path, images: dict[str, str]) -> Iterator[str]:
    """An actor's container with foreign keys in the deployment's network."""
    container = run(
        ["docker", "run", "--detach", *among(deployment, foreign_keys), images["actor"]], Path.cwd()
    ).strip()
    yield container
    run(["docker", "rm", "--force", container], Path.cwd())


def among(deployment: Deployment, keys_folder: Path) -> list[str]:
    """Options of a container in the deployment's network with keys of its own."""
    network = next(iter(deployment.containers("learner")[0]["NetworkSettings"]["Networks"]))
    return [
        *("--network", network, "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--volume", f"{keys_folder}:/keys:ro", "--env", "HEADRACE_KEYS=/keys"),
        *("--env", "HEADRACE_GATE_ADDRESS=tcp://replay-gate:5556"),
    ]


def test_a_container_with_a_foreign_key_gets_nothing_in(deployment: Deployment, stranger: str) -> None:
    unknown = 'sum(headrace_handshake_failures_total{socket="control",reason="unknown_key"})'
    wait_until(lambda: deployment.value(unknown) > 2, seconds=5 * MINUTES)

    said = run(["docker", "logs", stranger], Path.cwd())
    assert "the server does not accept this key" in said
    assert "joined" not in said
    assert gate_metrics(deployment)["actors"] == 4
    trains_on(deployment)
    assert_account_closes(deployment)


def test_a_container_with_a_foreign_key_gets_nothing_out(
    deployment: Deployment, foreign_keys: Path, images: dict[str, str]
) -> None:
    listen = ["docker", "run", "--rm", *among(deployment, foreign_keys), "--entrypoint", "python", images["actor"]]
    assert run([*listen, "-c", HEARS_WEIGHTS], Path.cwd()) == "nothing\n"
    refused = 'sum(headrace_handshake_failures_total{socket="weights",reason="unknown_key"})'
    wait_until(lambda: deployment.value(refused) > 0)
    assert deployment.compose("exec", "-T", "actor", "python", "-c", HEARS_WEIGHTS) == "heard\n"


def test_each_role_gets_a_new_key_while_the_others_go_on(deployment: Deployment) -> None:
    for role, service in (("gate", "replay-gate"), ("learner", "learner"), ("actor", "actor")):
        before = starts(deployment, "replay-gate", "learner", "actor")
        deployment.compose("run", "--rm", "-T", "keys", "rotate", "--role", role)
        deployment.compose("restart", service)
        is_healthy(deployment, service)
        trains_on(deployment)
        after = starts(deployment, "replay-gate", "learner", "actor")
        assert {name.rpartition("-")[0] for name in before if after[name] != before[name]} == {service}
    shown = deployment.compose("run", "--rm", "-T", "keys", "retire")
    assert "accepted until retired" not in shown
    deployment.compose("restart", "actor")
    trains_on(deployment)
    assert_account_closes(deployment)


def test_down_ends_everybody_well_and_a_second_up_goes_on_from_the_checkpoint(deployment: Deployment) -> None:
    running = {service: deployment.containers(service) for service in SERVICES}
    labels = running["learner"][0]["Config"]["Labels"]
    began = time.time()
    deployment.compose("down")
    events = happened(labels["com.docker.compose.project"], began)
    ended = [(event["com.docker.compose.service"], event["exitCode"]) for action, event in events if action == "die"]
    assert Counter(ended) == {(service, "0"): len(running[service]) for service in SERVICES}
    # Nobody outlived the grace period, which SIGKILL would have ended.
    assert {event["signal"] for action, event in events if action == "kill"} == {"15"}

    deployment.up(*SERVICES, actor=1)

    lines = run(["docker", "logs", deployment.containers("learner")[0]["Id"]], Path.cwd()).splitlines()
    started = next(line for line in map(json.loads, lines) if line["event"] == "started")
    assert started["env_steps"] > 20_000
    trains_on(deployment)
    assert_account_closes(deployment)


def happened(project: str, since: float) -> list[tuple[str, dict[str, str]]]:
    """The engine's events of a project's containers: what, and the container's attributes."""
    chosen = ("--filter", f"label=com.docker.compose.project={project}", "--filter", "type=container")
    span = ("--since", f"{since:.9f}", "--until", f"{time.time():.9f}")
    lines = run(["docker", "events", *span, *chosen, "--format", "{{json .}}"], Path.cwd()).splitlines()
    return [(event["Action"], event["Actor"]["Attributes"]) for event in map(json.loads, lines)]
