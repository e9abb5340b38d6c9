"""The checkpoints of a run: which one is meant, which ones are kept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from headrace_learner import checkpoints
from headrace_learner.checkpoints import CHECKPOINTS_FOLDER, Checkpoint, InvalidCheckpointError
from headrace_proto.errors import UserError

MIN_EPISODES_OF_BEST = 10
"""Games behind a mean score before it can make a checkpoint the best."""

Warn = Callable[[str], None]

SET_ASIDE_FOLDER = "set-aside"


def folder_of(run_dir: Path, env_steps: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run_dir / CHECKPOINTS_FOLDER / f"step-{env_steps:09d}"


def folders(run_dir: Path) -> dict[int, Path]:
    """All checkpoint folders of a run by their step, oldest first, good or not.

    Raises OSError if they cannot be listed, where Path.glob would find nothing, as if the run had none.
    """
    try:
        paths = list((run_dir / CHECKPOINTS_FOLDER).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    names = [(path.name.removeprefix("step-"), path) for path in paths if path.name.startswith("step-")]
    return dict(sorted((int(step), path) for step, path in names if step.isdecimal()))


def require_listed(run_dir: Path) -> dict[int, Path]:
    """As `folders`; raises UserError if they cannot be listed."""
    try:
        return folders(run_dir)
    except OSError as error:
        raise UserError(
            f"{run_dir}: its checkpoints cannot be listed: {error.strerror}; see to the disk and to its permissions"
        ) from error


def resolve(run_dir: Path, choice: str, warn: Warn) -> Checkpoint | None:
    """The checkpoint that a choice means: latest, auto, a path, or a step number.

    latest is the newest one that is whole; for each newer one that is not, a warning says so. auto is latest, or None
    where the run has none, whole or not: another release may read what this one cannot, and a run that began anew
    beside it would come to delete it. A step number that has no checkpoint means the first one past it within that
    one's `save_every`, because batches are whole. Raises UserError for anything else, and says what there is.
    """
    if choice in ("latest", "auto"):
        require_listed(run_dir)
        newest, unusable = _newest(run_dir, warn)
        if newest is None and unusable:
            raise UserError(
                f"{run_dir} has checkpoints, and none of them can be used; the newest: {unusable[0]}; go on with the "
                "release that wrote it, see to the disk and its permissions, or begin a run in another folder"
            )
        if newest is None and choice == "latest":
            raise UserError(f"{run_dir} has no checkpoint to go on from; allowed: a run that has saved one")
        return newest
    if choice.isdecimal():
        return _at_step(run_dir, int(choice))
    path = Path(choice)
    if not path.exists():
        raise UserError(f"checkpoint {choice}: no such path; allowed: latest, auto, a path, or a step number")
    if path.is_file():
        path = path.parent
    if require_listed(path):
        return resolve(path, "latest", warn)
    return _read(path)


def latest(run_dir: Path, warn: Warn) -> Checkpoint | None:
    """The newest whole checkpoint of a run, None if it has none; a warning tells what cannot be used or listed."""
    try:
        return _newest(run_dir, warn)[0]
    except OSError as error:
        warn(f"cannot list the checkpoints of {run_dir}: {error.strerror}")
        return None


def last_saved(run_dir: Path) -> float | None:
    """When a run was saved to last, in seconds since the epoch; None if it has no checkpoint that can be looked at.

    One that a training deletes at this moment is passed over.
    """
    times: list[float] = []
    with contextlib.suppress(OSError):
        for folder in folders(run_dir).values():
            with contextlib.suppress(OSError):
                times.append(folder.stat().st_mtime)
    return max(times, default=None)


def retain(run_dir: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints and the best by mean return of at least ten games.

    One that cannot be read is neither counted nor deleted: another release, or a mended disk, may have use for it.
    """
    whole: dict[int, Checkpoint] = {}
    for step, folder in folders(run_dir).items():
        with contextlib.suppress(InvalidCheckpointError):
            whole[step] = checkpoints.read(folder)
    kept = set(list(whole)[-keep:]) | _best_steps(whole)
    for step, checkpoint in whole.items():
        if step not in kept:
            _delete(checkpoint.path)


def _newest(run_dir: Path, warn: Warn) -> tuple[Checkpoint | None, list[InvalidCheckpointError]]:
    """The newest whole checkpoint, and what is wrong with each newer one."""
    unusable: list[InvalidCheckpointError] = []
    for folder in reversed(folders(run_dir).values()):
        try:
            return checkpoints.read(folder), unusable
        except InvalidCheckpointError as error:
            if folder not in folders(run_dir).values():
                return _newest(run_dir, warn)  # a training has deleted it since, having saved a newer one
            warn(f"cannot use the checkpoint {error}; trying the one before it")
            unusable.append(error)
    return None, unusable


def _best_steps(whole: dict[int, Checkpoint]) -> set[int]:
    """The step of the best checkpoint, the newer of two alike; empty if none has enough games behind it."""
    scores = {
        step: checkpoint.state.return_mean
        for step, checkpoint in whole.items()
        if checkpoint.state.return_mean is not None and len(checkpoint.state.recent_returns) >= MIN_EPISODES_OF_BEST
    }
    return {max(scores, key=lambda step: (scores[step], step))} if scores else set()


def _delete(folder: Path) -> None:
    """Delete a checkpoint, under another name first: what is left by a kill is no checkpoint that cannot be read."""
    partial = folder.with_name(checkpoints.partial_name(folder.name))
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder.rename(partial))


def set_aside_after(run_dir: Path, env_steps: int) -> list[Path]:
    """Move checkpoints past a step out of the way of one that goes on from there; returns where they now are."""
    moved = []
    for step, folder in folders(run_dir).items():
        if step > env_steps:
            place = folder.parent / SET_ASIDE_FOLDER / folder.name
            place.parent.mkdir(exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            moved.append(folder.rename(place))
    return moved


def remove_partial(run_dir: Path) -> None:
    """Delete what a writer that was killed has left."""
    for folder in (run_dir / CHECKPOINTS_FOLDER).glob(checkpoints.partial_name("step-*")):
        shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> Checkpoint:
    try:
        return checkpoints.read(folder)
    except InvalidCheckpointError as error:
        raise UserError(f"cannot use the checkpoint {error}; choose another, or latest") from error


def _at_step(run_dir: Path, step: int) -> Checkpoint:
    found = require_listed(run_dir)
    for saved, folder in found.items():
        if saved >= step:
            checkpoint = _read(folder)
            if saved < step + checkpoint.state.save_every:
                return checkpoint
            break
    there = ", ".join(str(saved) for saved in found) or "none"
    raise UserError(f"checkpoint {step}: {run_dir} has none within --save-every past it; there are: {there}")
