"""A deployment's day on a real cluster: it starts, is scaled, loses pods and processes, is changed and upgraded.

The tests follow one another on one deployment, each from where the one before has left it.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from kubernetes.conftest import MakeNamespace
from kubernetes_cluster import MINUTES, Namespace, until

SERVICES = ("deployment/replay-gate", "statefulset/learner", "deployment/actor")

LOOKS_AROUND = """
import json, os, pathlib
status = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)
try:
    pathlib.Path('/written').touch()
    root = 'written'
except OSError as error:
    root = error.strerror
print(json.dumps({
    'user': [os.getuid(), os.getgid()],
    'capabilities': int(status['CapBnd'].strip() or '0', 16),
    'seccomp': int(status['Seccomp']),
    'no_new_privileges': int(status['NoNewPrivs']),
    'root': root,
    'token': os.path.exists('/var/run/secrets/kubernetes.io'),
    'secret_keys': sorted(map(str, pathlib.Path('/keys').glob('*/secret.key'))),
}))
"""


@pytest.fixture(scope="module")
def deployment(make_namespace: MakeNamespace) -> Namespace:
    """deploy/kubernetes with CartPole, keys and volumes, everything ready."""
    made = make_namespace("headrace-test", {"runs-learner-0": "runs", "gate-state": "gate"})
    made.apply("overlay")
    made.rolled_out(*SERVICES)
    return made


def newest_checkpoint(deployment: Namespace) -> int:
    """Steps of the newest checkpoint on the learner's volume."""
    names = deployment.kubectl("exec", "learner-0", "--", "ls", "/runs/default/checkpoints").split()
    return max(int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdecimal())


def resumed_at(deployment: Namespace) -> int:
    """Steps at which the learner that runs now began, once it has."""
    found: list[int] = []

    def began() -> bool:
        found[:] = [int(line["env_steps"]) for line in deployment.logs("learner-0") if line["event"] == "started"]
        return bool(found)

    until(began)
    return found[-1]


def kill_process(pod: str) -> None:
    """Kill a pod's process, as a crash would: a container cannot kill its own first process."""
    name = f"name=k8s_.*_{pod}_"
    command = ["docker", "ps", "--quiet", "--filter", name, "--filter", "label=io.kubernetes.docker.type=container"]
    (container,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["docker", "kill", "--signal", "KILL", container], capture_output=True, check=True)


def first_pod(deployment: Namespace, role: str) -> str:
    return min(deployment.pods(role))


def is_replaced(deployment: Namespace, role: str, before: set[str]) -> bool:
    """Whether none of these pods, by unique identifier, is there and as many others are ready."""
    pods = deployment.pods(role).values()
    ready = [pod["metadata"]["uid"] for pod in pods if is_ready(pod)]
    return not before & set(ready) and len(ready) >= len(before)


def is_ready(pod: dict[str, object]) -> bool:
    conditions = pod["status"].get("conditions", [])  # type: ignore[attr-defined]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def identifiers(deployment: Namespace, role: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in deployment.pods(role).values()}


def test_everything_is_ready_and_training_advances(deployment: Namespace) -> None:
    deployment.has_actors(4)
    deployment.trains_on()
    deployment.assert_account_closes()
    assert deployment.restarts("gate") == deployment.restarts("learner") == deployment.restarts("actor") == 0


@pytest.mark.parametrize("role", ["gate", "learner", "actor"])
def test_a_pod_has_no_rights_and_the_keys_of_its_role(deployment: Namespace, role: str) -> None:
    said = deployment.kubectl("exec", first_pod(deployment, role), "--", "python", "-c", LOOKS_AROUND)
    assert json.loads(said) == {
        "user": [10001, 10001],
        "capabilities": 0,
        "seccomp": 2,
        "no_new_privileges": 1,
        "root": "Read-only file system",
        "token": False,
        "secret_keys": [f"/keys/{role}/secret.key"],
    }


def test_twelve_actors_and_then_two_and_the_account_closes(deployment: Namespace) -> None:
    deployment.kubectl("scale", "deployment/actor", "--replicas=12")
    deployment.has_actors(12)
    deployment.rolled_out("deployment/actor")
    deployment.trains_on()
    deployment.assert_account_closes()
    rest = {role: identifiers(deployment, role) for role in ("gate", "learner")}

    deployment.kubectl("scale", "deployment/actor", "--replicas=2")
    deployment.has_actors(2)
    deployment.trains_on()

    deployment.assert_account_closes()
    assert {role: identifiers(deployment, role) for role in rest} == rest
    assert deployment.restarts("gate") == deployment.restarts("learner") == deployment.restarts("actor") == 0


def test_a_deleted_actor_is_replaced(deployment: Namespace) -> None:
    before = identifiers(deployment, "actor")
    deployment.kubectl("delete", "pod", first_pod(deployment, "actor"))
    until(lambda: len(identifiers(deployment, "actor") - before) == 1)
    deployment.rolled_out("deployment/actor")
    deployment.has_actors(2)
    deployment.trains_on()
    deployment.assert_account_closes()


def test_a_deleted_gate_is_replaced_and_its_account_goes_on(deployment: Namespace) -> None:
    before, trained = identifiers(deployment, "gate"), deployment.account()["trained_transitions_total"]
    deployment.kubectl("delete", "pod", first_pod(deployment, "gate"))
    until(lambda: is_replaced(deployment, "gate", before))
    deployment.has_actors(2)
    deployment.trains_on()
    assert deployment.account()["trained_transitions_total"] > trained > 0
    deployment.assert_account_closes()


def test_a_deleted_learner_is_replaced_and_goes_on_from_what_it_saved_as_it_ended(deployment: Namespace) -> None:
    before, steps = identifiers(deployment, "learner"), deployment.metrics("learner")["headrace_learner_env_steps"]
    deployment.kubectl("delete", "pod", "learner-0")
    until(lambda: is_replaced(deployment, "learner", before))
    assert resumed_at(deployment) >= steps > 0
    deployment.trains_on()
    deployment.assert_account_closes()


@pytest.mark.parametrize("role", ["actor", "gate", "learner"])
def test_a_process_that_crashes_is_started_again_in_its_pod(deployment: Namespace, role: str) -> None:
    before, restarts = identifiers(deployment, role), deployment.restarts(role)
    saved = newest_checkpoint(deployment)
    kill_process(first_pod(deployment, role))
    until(lambda: deployment.restarts(role) == restarts + 1)
    until(lambda: all(map(is_ready, deployment.pods(role).values())))
    deployment.has_actors(2)
    deployment.trains_on()
    deployment.assert_account_closes()
    assert identifiers(deployment, role) == before
    if role == "learner":
        assert resumed_at(deployment) >= saved > 0


def test_a_changed_setting_reaches_the_service_that_reads_it_and_starts_no_other_anew(deployment: Namespace) -> None:
    learner = identifiers(deployment, "learner")
    others = identifiers(deployment, "gate") | identifiers(deployment, "actor")
    deployment.apply("changed")
    deployment.rolled_out(*SERVICES)
    assert identifiers(deployment, "learner").isdisjoint(learner)
    assert others <= identifiers(deployment, "gate") | identifiers(deployment, "actor")
    settings = json.loads(deployment.kubectl("exec", "learner-0", "--", "cat", "/runs/default/settings.json"))
    assert settings["settings"]["save_every"] == 50_000
    deployment.has_actors(4)  # as the overlay has it
    deployment.trains_on()
    deployment.assert_account_closes()


def test_actors_are_replaced_under_load_while_three_quarters_of_them_play(deployment: Namespace) -> None:
    before, trained = identifiers(deployment, "actor"), deployment.account()["trained_transitions_total"]
    available = []

    def done() -> bool:
        (actor,) = (each for each in deployment.objects("deployments") if each["metadata"]["name"] == "actor")
        available.append(actor["status"].get("availableReplicas", 0))
        return is_replaced(deployment, "actor", before) and available[-1] == actor["status"]["replicas"] == 4

    deployment.kubectl("rollout", "restart", "deployment/actor")
    until(done, 15 * MINUTES)
    assert min(available) >= 3
    deployment.has_actors(4)
    assert deployment.account()["trained_transitions_total"] > trained
    deployment.trains_on()
    deployment.assert_account_closes()


def test_the_learner_is_replaced_under_load_and_loses_nothing(deployment: Namespace) -> None:
    before, steps = identifiers(deployment, "learner"), deployment.metrics("learner")["headrace_learner_env_steps"]
    lost = deployment.account()["lost_transitions_total"]
    deployment.kubectl("rollout", "restart", "statefulset/learner")
    until(lambda: is_replaced(deployment, "learner", before))
    deployment.rolled_out("statefulset/learner")
    assert resumed_at(deployment) >= steps > 0
    deployment.trains_on()
    assert deployment.account()["lost_transitions_total"] == lost
    deployment.assert_account_closes()


def test_new_actors_that_an_old_gate_refuses_say_so_wait_and_leave_the_old_ones_playing(
    deployment: Namespace, next_schema: dict[str, str]
) -> None:
    before = identifiers(deployment, "actor")

    def refused() -> list[str]:
        pods = deployment.pods("actor")
        return [
            name
            for name, pod in pods.items()
            if pod["metadata"]["uid"] not in before
            and any("schema version" in str(line.get("detail")) for line in deployment.logs(name, "--tail=5"))
        ]

    with deployment.other_image("deployment/actor", "actor", next_schema["actor"]):
        until(lambda: len(refused()) == 2)  # a quarter more, and in place of a quarter
        deployment.trains_on()
        pods = deployment.pods("actor")
        assert not any(is_ready(pods[name]) for name in refused())
        assert deployment.restarts("actor") == 0
        assert len(before & identifiers(deployment, "actor")) == 3

    deployment.has_actors(4)
    deployment.trains_on()
    deployment.assert_account_closes()


def test_old_actors_and_an_old_learner_wait_for_a_new_gate_to_be_of_their_release(
    deployment: Namespace, next_schema: dict[str, str]
) -> None:
    roles = ("learner", "actor")
    restarts = {role: deployment.restarts(role) for role in roles}
    before = {role: identifiers(deployment, role) for role in roles}

    def waiting() -> bool:
        return all(
            any("schema version" in str(line.get("detail")) for line in deployment.logs(name, "--tail=5"))
            for name in deployment.pods("actor")
        )

    with deployment.other_image("deployment/replay-gate", "replay-gate", next_schema["replay-gate"]):
        deployment.rolled_out("deployment/replay-gate")
        until(waiting)
        assert deployment.account()["refused_messages_total"] > 0
        assert {role: deployment.restarts(role) for role in roles} == restarts

    deployment.has_actors(4)
    deployment.trains_on()
    deployment.assert_account_closes()
    assert {role: deployment.restarts(role) for role in roles} == restarts
    assert {role: identifiers(deployment, role) for role in roles} == before


def test_checkpoints_come_out_of_the_volume_and_go_into_another_run(deployment: Namespace, tmp_path: Path) -> None:
    mine = f"kubectl --namespace {deployment.name} exec"
    out = "tar -C /runs -cf - default/checkpoints default/settings.json"
    into = "mkdir /runs/second && tar -C /runs/second --strip-components 1 -xf -"
    steps = newest_checkpoint(deployment)

    def copied_out() -> bool:
        # tar says so where a checkpoint was rotated meanwhile
        command = f"{mine} learner-0 -- {out} > {tmp_path}/default.tar"
        return subprocess.run(command, shell=True, capture_output=True).returncode == 0

    until(copied_out)
    command = f"{mine} --stdin learner-0 -- sh -c '{into}' < {tmp_path}/default.tar"
    subprocess.run(command, shell=True, check=True)

    evaluated = ("headrace-learner", "evaluate", "--name", "second", "--episodes", "1", "--json")
    scores = json.loads(deployment.kubectl("exec", "learner-0", "--", *evaluated))
    assert scores["env_steps"] >= steps > 0


def test_what_the_pods_take_is_below_their_limits_and_told(deployment: Namespace) -> None:
    before, began = deployment.metrics("replay-gate"), time.monotonic()
    deployment.trains_on(20_000)
    after, ended = deployment.metrics("replay-gate"), time.monotonic()
    trained = after["headrace_gate_trained_transitions_total"] - before["headrace_gate_trained_transitions_total"]
    gate_seconds = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    taken = {
        service: deployment.metrics(service)["process_resident_memory_bytes"] / 2**20
        for service in ("replay-gate", "learner", "actor")
    }
    print(
        f"\n{trained / (ended - began):.0f} transitions/s of CartPole with 4 actors; the gate's process took "
        f"{1e6 * gate_seconds / trained:.0f} us of CPU for each; resident memory in MiB: "
        + ", ".join(f"{service} {mebibytes:.0f}" for service, mebibytes in taken.items())
    )
    assert 0 < taken["replay-gate"] < 1024
    assert 0 < taken["learner"] < 4096
    assert 0 < taken["actor"] < 1024
