"""Kubernetes manifests as `kubectl kustomize` renders them, and the pods in them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())

RENDERED: dict[str, tuple[str, ...]] = {
    "as it stands": (".",),
    **{f"overlay {name}": (f"overlays/{name}",) for name in OVERLAYS},
    **{f"small with {name}": ("overlays/small", name) for name in COMPONENTS},
    "cluster with gpu and spot": ("overlays/cluster", "gpu", "spot"),
    "small with gpu, spot and train-job": ("overlays/small", "gpu", "spot", "train-job"),
}
"""What the tests look at: an overlay and the components that are added to it, in their order."""

Manifest = dict[str, Any]


def kubectl() -> str:
    """The program; `make install` gets it where there is none."""
    ours = Path(sysconfig.get_path("scripts")) / "kubectl"
    found = str(ours) if ours.exists() else shutil.which("kubectl")
    assert found, "there is no kubectl; `make install` gets one for Linux on x86-64, else install 1.32 or newer"
    return found


@functools.cache
def rendered(overlay: str, *components: str) -> str:
    """YAML of an overlay of deploy/kubernetes, or another folder's, with components added to it."""
    if not components:
        return _kustomize(KUBERNETES / overlay)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        lines = [
            f"resources: [{os.path.relpath(KUBERNETES / overlay, folder)}]",
            "components:",
            *(f"  - {os.path.relpath(KUBERNETES / 'components' / component, folder)}" for component in components),
        ]
        (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
        return _kustomize(folder)


def _kustomize(folder: Path) -> str:
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # of what is deprecated
    return done.stdout


def manifests(overlay: str, *components: str) -> list[Manifest]:
    """The objects."""
    return [each for each in yaml.load_all(rendered(overlay, *components), Loader=yaml.CSafeLoader) if each]


def of_kind(objects: Sequence[Manifest], kind: str) -> dict[str, Manifest]:
    """The objects of a kind by their names."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def workloads(objects: Sequence[Manifest]) -> dict[str, Manifest]:
    """What makes pods, by kind and name: `Deployment/actor`."""
    found = (each for each in objects if "template" in each.get("spec", {}))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def pods(objects: Sequence[Manifest]) -> dict[str, Manifest]:
    """The pod template of each workload."""
    return {name: each["spec"]["template"] for name, each in workloads(objects).items()}


def containers(pod: Manifest) -> Iterator[Manifest]:
    """All containers of a pod template, those that run before the others too."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod["spec"].get(key, [])


def role_of(pod: Manifest) -> str:
    """gate, learner or actor."""
    role: str = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    return role


def settings_of(objects: Sequence[Manifest], container: Manifest) -> dict[str, str]:
    """The environment of a container, from its ConfigMaps and its own."""
    maps = of_kind(objects, "ConfigMap")
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {each["name"]: each["value"] for each in container.get("env", [])}
