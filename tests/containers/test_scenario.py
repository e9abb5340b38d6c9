"""A deployment's day: sixteen actors, killed processes, scaling, strangers, an evening's end and a second start."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel_queries
import pytest
from containers.conftest import Deploy
from containers.deployment import Deployment, run
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_until

from headrace_grafana import prometheus
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

TRIES_EVERY_SOCKET = """
import zmq
from headrace_proto import logs
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets

sockets = ServiceSockets("actor", ActorSettings(), logs.configure("stranger", "error"))
transitions, batches, weights = (sockets.make(kind) for kind in (zmq.PUSH, zmq.PULL, zmq.SUB))
weights.subscribe(b"PROGRESS")
sockets.connect(transitions, "tcp://replay-gate:5555", "transitions-address", server="gate")
sockets.connect(batches, "tcp://replay-gate:5557", "batches-address", server="gate")
sockets.connect(weights, "tcp://learner:5558", "weights-address", server="learner")
transitions.send(b"no rollout")
for name, socket in (("batches", batches), ("weights", weights)):
    if socket.poll(10_000):
        print("heard", name)
sockets.close(linger=2_000)
"""
"""Sends what the gate refuses as no rollout, if it comes in at all, and says which sockets let something out."""

REFUSED_FRAMES = 'sum(headrace_gate_refused_messages_total{reason="frame_count"})'


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


def restarts(deployment: Deployment) -> Counter[str]:
    """How often the engine has started each container of the services again by itself."""
    found = containers(deployment, "replay-gate", "learner", "actor")
    return Counter({name: each["RestartCount"] for name, each in found.items()})


def kill_process(deployment: Deployment, service: str, number: int = 1) -> None:
    """Kill a service's process, as a crash would; its container may end before the command in it has."""
    command = ("exec", "-T", "--index", str(number), service, "sh", "-c", KILL_SERVICE)
    deployment.compose(*command, statuses=(0, 137))


def kill_containers(chosen: list[dict[str, Any]]) -> None:
    """`docker kill`, which the engine takes for a person's wish: no restart policy applies."""
    run(["docker", "kill", "--signal", "KILL", *(each["Id"] for each in chosen)], Path.cwd())


def firing(deployment: Deployment, labelled: str = "") -> list[str]:
    """The alerts that fire, all or those with these labels."""
    return [labels["alertname"] for labels, _ in deployment.query(f'ALERTS{{alertstate="firing",{labelled}}}')]


def strangers_refused(deployment: Deployment) -> Counter[str]:
    """Handshakes with an unknown key, by socket, as Prometheus has scraped them."""
    found = deployment.query('sum by (socket) (headrace_handshake_failures_total{reason="unknown_key"})')
    return Counter({labels["socket"]: int(value) for labels, value in found})


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


def test_no_alert_fires_while_all_is_well(deployment: Deployment) -> None:
    # The rules are evaluated: the recorded ones have values.
    wait_until(lambda: deployment.value("run:headrace_learner_transitions:rate1m") > 0, seconds=5 * MINUTES)
    assert firing(deployment) == []


def test_killed_processes_are_started_again_and_the_account_closes(deployment: Deployment) -> None:
    before = restarts(deployment)
    actors = Counter({"actor-1": 1, "actor-2": 1, "actor-3": 1})
    for number in (1, 2, 3):
        kill_process(deployment, "actor", number)
    wait_until(lambda: restarts(deployment) - before == actors)
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)

    met = gate_metrics(deployment)["learner_restarts_total"]
    kill_process(deployment, "learner")
    wait_until(lambda: gate_metrics(deployment)["learner_restarts_total"] == met + 1, seconds=5 * MINUTES)
    trains_on(deployment)
    assert_account_closes(deployment)

    kill_process(deployment, "replay-gate")
    everybody = actors + Counter({"learner-1": 1, "replay-gate-1": 1})
    wait_until(lambda: restarts(deployment) - before == everybody)
    is_healthy(deployment, "replay-gate")
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)
    assert restarts(deployment) - before == everybody


def test_three_killed_containers_of_actors_stay_away_and_training_goes_on_without_them(deployment: Deployment) -> None:
    before = containers(deployment, "replay-gate", "learner", "actor")
    killed = {"actor-4", "actor-5", "actor-6"}
    kill_containers([before[name] for name in killed])

    has_actors(deployment, 13)
    trains_on(deployment)

    assert_account_closes(deployment)
    after = containers(deployment, "replay-gate", "learner", "actor")
    assert {name for name, each in after.items() if not each["State"]["Running"]} == killed
    assert {
        name for name, each in after.items() if each["State"]["StartedAt"] != before[name]["State"]["StartedAt"]
    } == set()
    deployment.compose("start")
    has_actors(deployment, 16)


def test_killed_containers_stop_nobody_else_and_start_brings_them_back(deployment: Deployment) -> None:
    before = containers(deployment, "replay-gate", "learner", "actor")
    killed = {"replay-gate-1", "learner-1", "actor-4", "actor-5", "actor-6"}
    kill_containers([before[name] for name in killed])

    deployment.compose("start")

    is_healthy(deployment, "replay-gate")
    trains_on(deployment)
    has_actors(deployment, 16)
    assert_account_closes(deployment)
    after = starts(deployment, "replay-gate", "learner", "actor")
    assert {name for name, each in before.items() if after[name] != each["State"]["StartedAt"]} == killed


@pytest.mark.parametrize("replicas", [2, 16, 4])
def test_scaling_while_it_trains_restarts_nobody(deployment: Deployment, replicas: int) -> None:
    before = starts(deployment, "replay-gate", "learner", "prometheus", "actor")
    surplus = sum(name.startswith("actor-") for name in before) - replicas
    began = time.time()
    deployment.up(*SERVICES, actor=replicas)

    has_actors(deployment, replicas)
    trains_on(deployment)

    assert_account_closes(deployment)
    after = starts(deployment, "replay-gate", "learner", "prometheus", "actor")
    assert all(after[name] == start for name, start in before.items() if name in after)
    assert_ended_well(deployment, began, actor=max(surplus, 0))


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
    before = strangers_refused(deployment)["control"]
    wait_until(lambda: strangers_refused(deployment)["control"] > before + 2, seconds=5 * MINUTES)

    said = run(["docker", "logs", stranger], Path.cwd())
    assert "the server does not accept this key" in said
    assert "joined" not in said
    assert gate_metrics(deployment)["actors"] == len(deployment.containers("actor"))
    wait_until(lambda: "HeadraceFailedHandshakes" in firing(deployment, 'socket="control",reason="unknown_key"'))
    trains_on(deployment)
    assert_account_closes(deployment)


def test_a_container_with_a_foreign_key_puts_nothing_into_a_socket_and_gets_nothing_out_of_one(
    deployment: Deployment, foreign_keys: Path, images: dict[str, str]
) -> None:
    refused, frames = strangers_refused(deployment), deployment.value(REFUSED_FRAMES)
    foreign = ["docker", "run", "--rm", *among(deployment, foreign_keys), "--entrypoint", "python", images["actor"]]
    assert run([*foreign, "-c", TRIES_EVERY_SOCKET], Path.cwd()) == ""

    sockets = {"transitions", "batches", "weights"}
    wait_until(lambda: set(strangers_refused(deployment) - refused) >= sockets)
    assert deployment.value(REFUSED_FRAMES) == frames
    # What comes in and goes out with an actor's own key: its frame, and progress on the socket of the weights.
    assert deployment.compose("exec", "-T", "actor", "python", "-c", TRIES_EVERY_SOCKET) == "heard weights\n"
    wait_until(lambda: deployment.value(REFUSED_FRAMES) == frames + 1)


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


def test_every_scrape_until_now_saw_the_account_closed(deployment: Deployment) -> None:
    (gap,) = (
        asked.expression for asked in panel_queries.panel_queries() if asked.panel == "Transitions unaccounted for"
    )
    found = deployment.query(f"max_over_time(({prometheus.interpolate(gap)})[2h:5s])")
    assert {value for _, value in found} == {0.0}


def test_down_ends_everybody_well_and_a_second_up_goes_on_from_the_checkpoint(deployment: Deployment) -> None:
    deployment.up(*SERVICES, actor=16)
    has_actors(deployment, 16)
    trains_on(deployment)
    trained = deployment.value("headrace_learner_env_steps")
    began = time.time()
    deployment.compose("down")
    assert_ended_well(deployment, began, **dict.fromkeys(SERVICES, 1) | {"actor": 16})

    deployment.up(*SERVICES, actor=1)

    lines = run(["docker", "logs", deployment.containers("learner")[0]["Id"]], Path.cwd()).splitlines()
    started = next(line for line in map(json.loads, lines) if line["event"] == "started")
    assert started["env_steps"] >= trained > 0
    trains_on(deployment)
    assert_account_closes(deployment)


def assert_ended_well(deployment: Deployment, since: float, **counts: int) -> None:
    """So many containers of each service have ended since, and no other: with status 0, within the grace period."""
    events = happened(deployment, since)
    ended = Counter((event["com.docker.compose.service"], event["exitCode"]) for act, event in events if act == "die")
    del ended["keys", "0"]  # each `up` runs it anew
    assert ended == Counter({(service, "0"): count for service, count in counts.items()})
    # Whoever outlives the grace period is sent SIGKILL.
    assert {event["signal"] for action, event in events if action == "kill"} <= {"15"}


def happened(deployment: Deployment, since: float) -> list[tuple[str, dict[str, str]]]:
    """The engine's events of a project's containers: what, and the container's attributes."""
    chosen = ("--filter", f"label=com.docker.compose.project={deployment.project}", "--filter", "type=container")
    span = ("--since", f"{since:.9f}", "--until", f"{time.time():.9f}")
    lines = run(["docker", "events", *span, *chosen, "--format", "{{json .}}"], Path.cwd()).splitlines()
    return [(event["Action"], event["Actor"]["Attributes"]) for event in map(json.loads, lines)]
