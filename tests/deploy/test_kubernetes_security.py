"""Restricted Pod Security, asserted on every pod template: kubernetes.io/docs/concepts/security/pod-security-standards.

And beyond it: numeric users, a read-only root, no token of a service account.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import manifests
import pytest
from manifests import RENDERED, Manifest

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
SECCOMP = {"RuntimeDefault", "Localhost"}
DEFAULT = {"type": "RuntimeDefault"}

POD = manifests.pods(manifests.manifests("overlays/small"))["Deployment/replay-gate"]


def objections(pod: Manifest) -> Iterator[str]:
    """What the restricted profile refuses in a pod template, and what it leaves open and we do not."""
    spec, security = pod["spec"], pod["spec"].get("securityContext", {})
    yield from (f"host's {key}" for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(key))
    for volume in spec.get("volumes", []):
        yield from (f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES)
    if security.get("sysctls") or security.get("windowsOptions"):
        yield "sysctls or windowsOptions"
    if spec.get("automountServiceAccountToken") is not False:
        yield "a token of a service account"
    for container in manifests.containers(pod):
        yield from _objections_to_container(container, {**security, **container.get("securityContext", {})})


def _objections_to_container(container: Manifest, security: dict[str, Any]) -> Iterator[str]:
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "privilege escalation"
    if security.get("runAsNonRoot") is not True:
        yield "may be root"
    if not isinstance(security.get("runAsUser"), int) or security["runAsUser"] == 0:
        yield "no numeric user"
    if security.get("seccompProfile", {}).get("type") not in SECCOMP:
        yield "no seccomp profile"
    if security.get("capabilities", {}).get("drop") != ["ALL"] or security["capabilities"].get("add"):
        yield "capabilities"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "a root that can be written"
    if security.get("procMount", "Default") != "Default" or "seLinuxOptions" in security:
        yield "procMount or seLinuxOptions"
    if security.get("appArmorProfile", DEFAULT)["type"] not in SECCOMP or "windowsOptions" in security:
        yield "AppArmor or windowsOptions"
    yield from _objections_to_network(container)


def _objections_to_network(container: Manifest) -> Iterator[str]:
    if any("host" in asked for asked in requests_of(container)):
        yield "a request to another host"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "a port of the host"


def requests_of(container: Manifest) -> Iterator[Manifest]:
    """Every httpGet and tcpSocket of probes and hooks."""
    probes = [container.get(name, {}) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    for asking in (*probes, *container.get("lifecycle", {}).values()):
        yield from (asking[how] for how in ("httpGet", "tcpSocket") if how in asking)


@pytest.mark.parametrize("chosen", RENDERED.values(), ids=RENDERED.keys())
def test_every_pod_is_restricted(chosen: tuple[str, ...]) -> None:
    found = manifests.pods(manifests.manifests(*chosen))
    assert {name: list(objections(pod)) for name, pod in found.items() if list(objections(pod))} == {}


@pytest.mark.parametrize("chosen", RENDERED.values(), ids=RENDERED.keys())
def test_the_namespace_enforces_it(chosen: tuple[str, ...]) -> None:
    (namespace,) = manifests.of_kind(manifests.manifests(*chosen), "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def changed(where: str, value: object) -> Manifest:
    pod = copy.deepcopy(POD)
    *path, last = where.split(".")
    found: Any = pod["spec"]
    for key in path:
        found = found[at(key)]
    found[at(last)] = value
    return pod


def at(key: str) -> int | str:
    return int(key) if key.isdigit() else key


@pytest.mark.parametrize(
    ("where", "value", "objection"),
    [
        ("hostNetwork", True, "host's hostNetwork"),
        ("hostPID", True, "host's hostPID"),
        ("volumes.0", {"name": "keys", "hostPath": {"path": "/"}}, "volume hostPath"),
        ("automountServiceAccountToken", True, "a token of a service account"),
        ("securityContext.runAsNonRoot", False, "may be root"),
        ("securityContext.runAsUser", 0, "no numeric user"),
        ("securityContext.seccompProfile", {"type": "Unconfined"}, "no seccomp profile"),
        ("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "sysctls or windowsOptions"),
        ("containers.0.securityContext.privileged", True, "privileged"),
        ("containers.0.securityContext.allowPrivilegeEscalation", True, "privilege escalation"),
        ("containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}, "capabilities"),
        ("containers.0.securityContext.capabilities", {}, "capabilities"),
        ("containers.0.securityContext.readOnlyRootFilesystem", False, "a root that can be written"),
        ("containers.0.securityContext.runAsUser", 0, "no numeric user"),
        ("containers.0.securityContext.appArmorProfile", {"type": "Unconfined"}, "AppArmor or windowsOptions"),
        ("containers.0.livenessProbe.httpGet", {"port": 80, "host": "example.com"}, "a request to another host"),
        ("containers.0.ports.0", {"containerPort": 5555, "hostPort": 5555}, "a port of the host"),
        ("initContainers", [{"name": "first"}], "may be root"),
    ],
)
def test_the_check_sees_what_is_not(where: str, value: object, objection: str) -> None:
    if where == "initContainers":
        pod = changed("securityContext", {})
        pod["spec"][where] = value
        assert objection in objections(pod)
    else:
        assert list(objections(changed(where, value))) == [objection]
