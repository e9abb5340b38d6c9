"""Namespaces of the cluster of KUBECONFIG, whose node sees the images of this machine's Docker engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes_cluster
import pytest
from containers.conftest import images as images  # built from a clean clone
from kubernetes_cluster import Namespace

MakeNamespace = Callable[[str, dict[str, str]], Namespace]

NEXT_SCHEMA = """
FROM {image}
USER 0
RUN cd /opt/headrace/lib/python3*/site-packages/headrace_proto \\
 && sed -i 's/^SCHEMA_VERSION = .*/SCHEMA_VERSION = 99/' __init__.py
USER 10001:10001
"""


@pytest.fixture(scope="session")
def next_schema(images: dict[str, str]) -> dict[str, str]:
    """Images of actor and gate that speak another version of the wire, as a next release might."""
    made = {}
    for name in ("actor", "replay-gate"):
        made[name] = f"headrace/{name}:test-next-schema"
        dockerfile = NEXT_SCHEMA.format(image=images[name])
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", made[name], "-"], input=dockerfile, text=True, check=True
        )
    return made


@pytest.fixture(scope="module")
def make_namespace(
    images: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[MakeNamespace]:
    """`make_namespace("mine", {"runs-learner-0": "runs"})`: with keys, and a volume of the node for each claim.

    It is removed after the module; if a test has failed, what a person would look at first is printed.
    """
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG must name the cluster to test on"
    made: list[Namespace] = []
    volumes: list[str] = []

    def make(name: str, claims: dict[str, str]) -> Namespace:
        namespace = Namespace(name)
        namespace.remove()
        made.append(namespace)
        folder: Path = tmp_path_factory.mktemp(name)
        for claim, volume in claims.items():
            volumes.append(f"{name}-{volume}")
            kubernetes_cluster.kubectl("delete", "persistentvolume", volumes[-1], "--ignore-not-found")
            kubernetes_cluster.kubectl(
                *("apply", "-f", "-"),
                given=kubernetes_cluster.hostpath_volume(volumes[-1], folder / volume, name, claim),
            )
        kubernetes_cluster.kubectl("create", "namespace", name)
        command = [sys.executable, "-m", "headrace_local", "keys", "--kubernetes", "--keys", str(folder / "keys")]
        secrets = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        namespace.kubectl("apply", "-f", "-", given=secrets)
        return namespace

    failed_before = request.session.testsfailed
    yield make
    for namespace in made:
        if request.session.testsfailed > failed_before:
            print(namespace.describe())
        namespace.remove()
    if volumes:
        kubernetes_cluster.kubectl("delete", "persistentvolume", *volumes, "--ignore-not-found")
