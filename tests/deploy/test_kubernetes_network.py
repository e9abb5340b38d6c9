"""Who may connect to whom under the component `network-policy`: exactly the paths of the wire, scraping and DNS.

Policies are read as kubernetes.io/docs/concepts/services-networking/network-policies says: a pod that none selects is
open, one that some select is open to what any of them allows, and a connection needs the leave of both ends.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import manifests
import pytest
from manifests import Manifest

NAMESPACE = "headrace"
CHOSEN = ("overlays/small", "network-policy")


@dataclass(frozen=True)
class Endpoint:
    """A pod, or whoever is like one."""

    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, int], ...] = ()


def ours() -> list[Endpoint]:
    found = []
    for pod in manifests.pods(manifests.manifests(*CHOSEN)).values():
        (container,) = manifests.containers(pod)
        ports = tuple((port["name"], port["containerPort"]) for port in container["ports"])
        labels = tuple(pod["metadata"]["labels"].items())
        found.append(Endpoint(manifests.role_of(pod), NAMESPACE, labels, ports))
    return found


OTHERS = [
    Endpoint("prometheus", "monitoring", (("app.kubernetes.io/name", "prometheus"),)),
    Endpoint("grafana", "monitoring", (("app.kubernetes.io/name", "grafana"),)),
    Endpoint("dns", "kube-system", (("k8s-app", "kube-dns"),), (("dns", 53),)),
    Endpoint("stranger", "default", (("app.kubernetes.io/name", "headrace-actor"),), (("web", 80),)),
    Endpoint("neighbour", NAMESPACE, (("app.kubernetes.io/name", "something-else"),), (("web", 80),)),
]

PATHS = {
    ("actor", "gate", 5555),
    ("actor", "gate", 5556),
    ("learner", "gate", 5557),
    ("actor", "learner", 5558),
    ("gate", "learner", 5558),
    ("prometheus", "actor", 9100),
    ("prometheus", "gate", 9101),
    ("prometheus", "learner", 9102),
    ("actor", "dns", 53),
    ("gate", "dns", 53),
    ("learner", "dns", 53),
}
"""From, to, and the port: all that is allowed."""

POLICIES = manifests.of_kind(manifests.manifests(*CHOSEN), "NetworkPolicy")
ENDPOINTS = [*ours(), *OTHERS]
PORTS = sorted({port for endpoint in ENDPOINTS for _, port in endpoint.ports} | {22, 443, 9103})


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    assert selector is not None
    assert set(selector) <= {"matchLabels"}, "the test reads no other"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def names(peer: dict[str, Any], policy: Manifest, other: Endpoint) -> bool:
    """Whether a peer of a rule stands for an endpoint."""
    assert set(peer) <= {"podSelector", "namespaceSelector"}, "the test reads no other"
    if "namespaceSelector" in peer:
        of_namespace = {"kubernetes.io/metadata.name": other.namespace}
        if not selects(peer["namespaceSelector"], of_namespace):
            return False
    elif other.namespace != policy["metadata"]["namespace"]:
        return False
    return selects(peer.get("podSelector", {}), dict(other.labels))


def covers(rule: dict[str, Any], port: int, target: Endpoint) -> bool:
    if "ports" not in rule:
        return True
    named = dict(target.ports)
    return any(each["port"] == port or named.get(str(each["port"])) == port for each in rule["ports"])


def lets(direction: str, guarded: Endpoint, other: Endpoint, port: int, target: Endpoint) -> bool:
    """Whether the policies of one end let a connection through."""
    applying = [
        policy
        for policy in POLICIES.values()
        if policy["metadata"]["namespace"] == guarded.namespace
        and selects(policy["spec"]["podSelector"], dict(guarded.labels))
        and direction.capitalize() in policy["spec"]["policyTypes"]
    ]
    peers = "from" if direction == "ingress" else "to"
    return not applying or any(
        covers(rule, port, target) and any(names(peer, policy, other) for peer in rule[peers])
        for policy in applying
        for rule in policy["spec"].get(direction, [])
    )


def allowed(source: Endpoint, target: Endpoint, port: int) -> bool:
    return lets("egress", source, target, port, target) and lets("ingress", target, source, port, target)


@pytest.mark.parametrize("port", PORTS)
def test_exactly_the_paths_of_the_wire_scraping_and_dns_are_open(port: int) -> None:
    involved = {endpoint.name for endpoint in ours()}
    found = {
        (source.name, target.name, port)
        for source, target in itertools.product(ENDPOINTS, ENDPOINTS)
        if {source.name, target.name} & involved and allowed(source, target, port)
    }
    assert found == {path for path in PATHS if path[2] == port}


def test_two_actors_do_not_reach_each_other() -> None:
    (actor,) = (endpoint for endpoint in ours() if endpoint.name == "actor")
    assert not any(allowed(actor, actor, port) for port in PORTS)


def test_whoever_else_is_in_the_namespace_is_cut_off_too() -> None:
    neighbour, stranger = (each for each in OTHERS if each.name in ("neighbour", "stranger"))
    assert not allowed(neighbour, stranger, 80)
    assert not allowed(stranger, neighbour, 80)


def test_dns_is_open_by_both_protocols_and_the_wire_by_tcp_alone() -> None:
    protocols = {
        (name, port["port"], port["protocol"])
        for name, policy in POLICIES.items()
        for direction in ("ingress", "egress")
        for rule in policy["spec"].get(direction, [])
        for port in rule["ports"]
    }
    assert {each for each in protocols if each[2] != "TCP"} == {("dns", 53, "UDP")}
    assert ("dns", 53, "TCP") in protocols


def test_without_the_component_everything_is_open_to_everybody() -> None:
    assert not manifests.of_kind(manifests.manifests("overlays/small"), "NetworkPolicy")
