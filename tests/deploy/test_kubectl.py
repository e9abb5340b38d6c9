"""Where a machine has no kubectl, one comes from a pinned package; one that is new enough is left alone."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from pathlib import Path

import kubectl
import pytest


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package as that of PyPI is laid out."""
    layer = zipped({"helm/helm": b"another program", "kubectl/kubectl": b"the program"})
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer)
        archive.addfile(entry, io.BytesIO(layer))
    made = tmp_path / "package.whl"
    made.write_bytes(zipped({"aws_cdk/_jsii/layer@2.1.0.jsii.tgz": package.getvalue()}))
    return made


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch, kustomize: str | None) -> None:
    """Let the only programs be those of a folder: none, or a kubectl with this kustomize."""
    folder.mkdir()
    if kustomize is not None:
        program = folder / "kubectl"
        program.write_text(f"#!/bin/sh\necho Client Version: v1\necho Kustomize Version: {kustomize}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("kustomize", [None, "v4.5.7"], ids=["none", "an old one"])
def test_a_machine_without_one_that_is_new_enough_gets_one(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, kustomize: str | None
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, kustomize)
    monkeypatch.setattr(kubectl, "download", lambda folder: wheel)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    kubectl.main(tmp_path)

    assert (tmp_path / "kubectl").read_bytes() == b"the program"
    assert (tmp_path / "kubectl").stat().st_mode & 0o111


def test_a_machine_that_has_one_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, "v5.5.0")

    kubectl.main(tmp_path)

    assert not (tmp_path / "kubectl").exists()


def test_on_another_processor_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_on_path(tmp_path / "bin", monkeypatch, None)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    kubectl.main(tmp_path)

    assert "install 1.32 or newer" in capsys.readouterr().out
    assert not (tmp_path / "kubectl").exists()


def test_the_package_is_pinned_by_version_and_hash() -> None:
    assert re.fullmatch(r"[\w-]+==[\d.]+", kubectl.PACKAGE)
    assert re.fullmatch(r"[0-9a-f]{64}", kubectl.SHA256)
