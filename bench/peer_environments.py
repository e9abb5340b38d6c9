"""A virtual environment for each peer, made on demand in `build/peers`, which git ignores.

torch is not installed anew: the environment borrows Headrace's, so that all that is compared computes with the same
build of it. Everything else is what the peer's list in `bench/peers` pins and pip resolves.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measurement

from headrace_proto.errors import HeadraceError

ROOT = Path(__file__).parents[1]
DRIVERS = ROOT / "bench" / "peers"
ENVIRONMENTS = ROOT / "build" / "peers"
BORROWED = ("torch", "torchgen", "functorch", "torch-*.dist-info")


def run(peer: str, flags: Sequence[str]) -> dict[str, Any]:
    """Run a peer's driver and return what it printed last; raises HeadraceError if it fails."""
    command = [str(python(peer)), str(DRIVERS / f"{peer}.py"), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ENVIRONMENTS)  # noqa: S603 our own
    if ended.returncode != 0:
        raise HeadraceError(f"{peer} ended with status {ended.returncode}:\n{ended.stderr[-2000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing or its list has changed."""
    wanted = DRIVERS / f"{peer}.txt"
    folder = ENVIRONMENTS / peer
    installed = folder / "installed.txt"
    interpreter = folder / "bin" / "python"
    if not installed.exists() or installed.read_text() != wanted.read_text():
        measurement.say(f"installing {peer} into {folder.relative_to(ROOT)}: some minutes the first time")
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        _borrow(Path(sysconfig.get_path("purelib")), _packages(interpreter))
        _call(str(interpreter), "-m", "pip", "install", "--quiet", "--requirement", str(wanted))
        installed.write_text(wanted.read_text())
    return interpreter


def _borrow(ours: Path, theirs: Path) -> None:
    for pattern in BORROWED:
        for path in ours.glob(pattern):
            (theirs / path.name).symlink_to(path)


def _packages(interpreter: Path) -> Path:
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    shown = subprocess.run([str(interpreter), "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    return Path(shown.stdout.strip())


def _call(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 the commands are our own
    if ended.returncode != 0:
        raise HeadraceError(f"{' '.join(command)}: {ended.stderr[-2000:]}")
