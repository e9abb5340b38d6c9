"""The folder of a run, `runs/<name>/`: its name, its lock and what was asked for."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from headrace_learner import checkpoint_store, checkpoints
from headrace_learner.checkpoints import Checkpoint
from headrace_proto import whole_file
from headrace_proto.errors import UserError
from headrace_proto.names import flag_name
from headrace_proto.settings import GateLimits, TrainSettings

SETTINGS_FILE = "train.json"

RESUMED_SETTINGS = frozenset({"actors", *GateLimits.model_fields})
"""What a resumed run takes over of the gate's and the actors': transport, device and threads are the machine's."""


def default_name(settings: TrainSettings, game: str, now: datetime) -> str:
    """breakout-nstep-q-seed1-20260131-120000."""
    short = re.sub(r"^ALE/|-v\d+$", "", game).lower()
    clean = re.sub(r"[^a-z0-9._-]+", "-", short).strip("-")[:50]
    return f"{clean}-{settings.algorithm}-seed{settings.seed}-{now:%Y%m%d-%H%M%S}"


def create(runs: Path, name: str) -> Path:
    """Make the folder of a new run; raises UserError where there is one."""
    folder = runs / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UserError(
            f"--name {name}: {folder} exists; add --resume latest to go on with that run, or choose another name"
        ) from None
    except OSError as error:
        raise UserError(f"--runs {runs}: cannot make {folder}: {error.strerror}; choose a folder to write in") from None
    return folder


def adopt(folder: Path, checkpoint: Checkpoint) -> Path:
    """Where a checkpoint lies in the run's own folder; one of another run is copied, so that a restart finds it.

    Whole or not at all; raises UserError if it cannot be copied, and leaves no run behind that has nothing in it.
    """
    if checkpoint.path.absolute().is_relative_to(folder.absolute()):
        return checkpoint.path
    own = checkpoint_store.folder_of(folder, checkpoint.state.env_steps)
    partial = own.with_name(checkpoints.partial_name(own.name))
    try:
        shutil.copytree(checkpoint.path, partial)
        partial.rename(own)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        for made in (own.parent, folder):
            with suppress(OSError):  # what has something else in it stays
                made.rmdir()
        raise UserError(
            f"{checkpoint.path}: cannot be copied to {own}: {_reason(error)}; make room there, choose a folder "
            "to write in by --runs, or another checkpoint if this one is gone"
        ) from error
    return own


def record(folder: Path, settings: TrainSettings, actors: int) -> None:
    """Write what was asked for of all processes; the learner's settings.json has nothing of the gate and the actors."""
    content = {"settings": settings.model_dump(mode="json") | {"actors": actors}}
    path = folder / SETTINGS_FILE
    try:
        whole_file.write(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot write it: {error.strerror}; make room there, or choose a folder to write in by --runs"
        ) from error


def recorded(folder: Path) -> dict[str, Any]:
    """What a resumed run takes over of its last start, none where an older release wrote nothing; raises UserError."""
    path = folder / SETTINGS_FILE
    try:
        settings = json.loads(path.read_bytes())["settings"]
        return {name: settings[name] for name in sorted(RESUMED_SETTINGS & settings.keys())}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}; let it be read") from error
    except (ValueError, LookupError, TypeError, AttributeError):
        flags = ", ".join(flag_name(name) for name in sorted(RESUMED_SETTINGS))
        raise UserError(
            f"{path}: is damaged; it says with which {flags} the run was started: remove it, and give those that "
            "were not the defaults"
        ) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run; raises UserError where another `headrace train` does. The kernel frees it at any end."""
    with _lock_of(folder):
        yield


def _lock_of(folder: Path) -> IO[str]:
    path = folder / "lock"
    try:
        lock = path.open("w")
    except OSError as error:
        raise UserError(f"{path}: cannot write it: {error.strerror}; go on with a run that you may write to") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if isinstance(error, BlockingIOError):
            raise UserError(f"{folder}: another `headrace train` has this run; stop it or choose another") from None
        raise UserError(
            f"{path}: cannot be locked: {error.strerror}; choose a folder by --runs whose file system has locks"
        ) from error
    return lock


def _reason(error: OSError) -> str:
    """What went wrong; of what several files went wrong with, the first."""
    if isinstance(error, shutil.Error) and error.args and error.args[0]:
        return str(error.args[0][0][-1])
    return error.strerror or str(error)
