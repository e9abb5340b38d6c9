"""A namespace of a real cluster, driven by kubectl and watched from outside."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import manifests
from prometheus_client.parser import text_string_to_metric_families

MINUTES = 60.0
KUBERNETES = Path(__file__).parent / "kubernetes"

Object = dict[str, Any]


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Standard output; fails with what was said unless it ends well."""
    command = [manifests.kubectl(), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=20 * MINUTES)
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def until(condition: Callable[[], object], seconds: float = 10 * MINUTES) -> None:
    """Return as soon as the condition holds, asking about once a second, since each question is a process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
        time.sleep(1)


def hostpath_volume(name: str, folder: Path, namespace: str, claim: str) -> str:
    """A volume of the node for one claim; the folder is made for the services' user."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # a kubelet gives a hostPath to no group
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(folder)},
                "claimRef": {"namespace": namespace, "name": claim},
            },
        }
    )


class Namespace:
    """One deployment of deploy/kubernetes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """kubectl in this namespace."""
        return kubectl("--namespace", self.name, *arguments, given=given)

    def apply(self, overlay: str) -> None:
        """Apply an overlay of tests/kubernetes."""
        kubectl("apply", "-k", str(KUBERNETES / overlay))

    def rolled_out(self, *workloads: str) -> None:
        """Wait until every pod of a workload is of its newest form, and ready."""
        for workload in workloads:
            self.kubectl("rollout", "status", workload, "--timeout=10m")

    def objects(self, kind: str, *options: str) -> list[Object]:
        """Objects of a kind."""
        found: list[Object] = json.loads(self.kubectl("get", kind, *options, "-o", "json"))["items"]
        return found

    def pods(self, role: str) -> dict[str, Object]:
        """The pods of a role that nobody has told to end, by name."""
        found = self.objects("pods", "--selector", f"app.kubernetes.io/component={role}")
        return {each["metadata"]["name"]: each for each in found if "deletionTimestamp" not in each["metadata"]}

    def restarts(self, role: str) -> int:
        """How often the kubelet has started the role's containers anew."""
        return sum(
            status["restartCount"]
            for pod in self.pods(role).values()
            for status in pod["status"].get("containerStatuses", [])
        )

    def logs(self, pod: str, *options: str) -> list[Object]:
        """A pod's log lines that are JSON; none before its container has started."""
        command = [manifests.kubectl(), "--namespace", self.name, "logs", pod, *options]
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    @contextlib.contextmanager
    def other_image(self, workload: str, container: str, image: str) -> Iterator[None]:
        """Let a workload's pods have another image for a while, and wait until they have the one before again."""
        self.kubectl("set", "image", workload, f"{container}={image}")
        try:
            yield
        finally:
            self.kubectl("rollout", "undo", workload)
            self.rolled_out(workload)

    def metrics(self, service: str) -> Counter[str]:
        """Sums of a service's metrics over their labels, all of one moment; empty while it does not answer."""
        path = f"/api/v1/namespaces/{self.name}/services/{service}:metrics/proxy/metrics"
        asked = subprocess.run([manifests.kubectl(), "get", "--raw", path], capture_output=True, text=True)
        sums: Counter[str] = Counter()
        if asked.returncode == 0:
            for family in text_string_to_metric_families(asked.stdout):
                for sample in family.samples:
                    sums[sample.name] += sample.value  # type: ignore[assignment]
        return sums

    def account(self) -> Counter[str]:
        """The gate's metrics without their prefix, once it answers."""
        found: Counter[str] = Counter()

        def answers() -> bool:
            for name, value in self.metrics("replay-gate").items():
                found[name.removeprefix("headrace_gate_")] = value
            return bool(found)

        until(answers)
        return found

    def assert_account_closes(self) -> None:
        """Every transition ever promised is somewhere, and no more are alive than may be."""
        account = self.account()
        settled = sum(account[f"{end}_transitions_total"] for end in ("returned", "trained", "rejected", "lost"))
        assert account["promised_transitions_total"] == settled + account["alive_transitions"], account
        assert account["alive_transitions"] <= account["capacity_transitions"]

    def trains_on(self, transitions: int = 2_000) -> None:
        """Wait until so many more are trained."""
        target = self.account()["trained_transitions_total"] + transitions
        until(lambda: self.account()["trained_transitions_total"] >= target)

    def has_actors(self, count: int) -> None:
        """Wait until the gate knows so many."""
        until(lambda: self.account()["actors"] == count)

    def describe(self) -> str:
        """What a person would look at first."""
        commands = (
            ("get", "pods", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "deployment/replay-gate", "--tail=20"),
            ("logs", "--selector=app.kubernetes.io/component=learner", "--tail=20"),
            ("logs", "--selector=app.kubernetes.io/component=actor", "--tail=5", "--prefix"),
        )
        told = []
        for command in commands:
            options = [manifests.kubectl(), "--namespace", self.name, *command]
            done = subprocess.run(options, capture_output=True, text=True, timeout=60)
            told.append(f"$ kubectl {' '.join(command)}\n{done.stdout}{done.stderr}")
        return "\n".join(told)

    def remove(self) -> None:
        """Delete the namespace and wait until its pods are gone."""
        kubectl("delete", "namespace", self.name, "--ignore-not-found", "--timeout=10m")
