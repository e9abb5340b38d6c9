"""Environments of their own for queues that we do not depend on, made under build/ when first asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from headrace_proto.errors import HeadraceError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "peers"

REQUIREMENTS = {
    "redis": ("redis[hiredis]==8.1.0", "numpy", "msgpack"),
    "reverb": ("dm-reverb[tensorflow]==0.14.0", "numpy<2", "msgpack"),
}
REDIS_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "lua-cjson", "lua-bitop", "liblzf1")
"""Debian's, without what every Debian has."""


class UnavailableError(HeadraceError):
    """A queue cannot be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the environment variables that it is run with."""

    python: Path
    variables: dict[str, str]


def own() -> Interpreter:
    """The Python of this process."""
    return Interpreter(Path(sys.executable), {})


def of(name: str, may_install: bool) -> Interpreter:
    """The environment of a peer, installed now if it is not yet and may be; raises UnavailableError."""
    requirements = REQUIREMENTS[name]
    folder = FOLDER / name
    mark = folder / "installed"
    if not mark.exists() or mark.read_text() != "\n".join(requirements):
        if not may_install:
            raise UnavailableError(f"{name} is not installed, which --quick leaves so")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements])
        mark.write_text("\n".join(requirements))
    return Interpreter(folder / "bin" / "python", _redis_variables() if name == "redis" else {})


def _redis_variables() -> dict[str, str]:
    """Where redis-server is: in the system, or unpacked from Debian's packages without being installed."""
    if found := shutil.which("redis-server"):
        return {"REDIS_SERVER": found}
    folder = FOLDER / "redis-server"
    server = folder / "usr" / "bin" / "redis-server"
    if not server.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", *REDIS_PACKAGES], folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(folder)])
    libraries = [str(path) for path in (folder / "usr" / "lib").glob("*-linux-gnu")]
    return {"REDIS_SERVER": str(server), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def _run(command: list[str], folder: Path = ROOT) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)  # noqa: S603 the command is our own
    except OSError as error:
        raise UnavailableError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise UnavailableError(f"{Path(command[0]).name} {' '.join(command[1:4])} failed: {said[-1]}")
