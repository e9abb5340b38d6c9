"""The folder of a run, `runs/<name>/`: its name, its lock and what was asked for."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from headrace_learner import checkpoint_store
from headrace_learner.checkpoints import Checkpoint
from headrace_proto.errors import UserError
from headrace_proto.settings import TrainSettings

SETTINGS_FILE = "train.json"


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
    """Where a checkpoint lies in the run's own folder; one of another run is copied, so that a restart finds it."""
    if checkpoint.path.absolute().is_relative_to(folder.absolute()):
        return checkpoint.path
    own = checkpoint_store.folder_of(folder, checkpoint.state.env_steps)
    shutil.copytree(checkpoint.path, own)
    return own


def record(folder: Path, settings: TrainSettings, actors: int) -> None:
    """Write what was asked for of all processes; the learner's settings.json has nothing of the gate and the actors."""
    content = {"settings": settings.model_dump(mode="json") | {"actors": actors}}
    try:
        (folder / SETTINGS_FILE).write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{folder / SETTINGS_FILE}: cannot write it: {error.strerror}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run; raises UserError where another `headrace train` does. The kernel frees it at any end."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another `headrace train` has this run; stop it or choose another") from None
        yield
