"""The checkpoints of a run: which one is meant, which ones are kept."""

from __future__ import annotations

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
    """All checkpoint folders of a run by their step, oldest first, good or not."""
    found = {
        int(path.name.removeprefix("step-")): path
        for path in (run_dir / CHECKPOINTS_FOLDER).glob("step-*")
        if path.name.removeprefix("step-").isdigit()
    }
    return dict(sorted(found.items()))


def resolve(run_dir: Path, choice: str, warn: Warn) -> Checkpoint | None:
    """The checkpoint that a choice means: latest, auto, a path, or a step number.

    latest is the newest one that is whole; for each newer one that is not, a warning says so. auto is latest, or None
    where the run has none. A step number that has no checkpoint means the first one past it within that one's
    `save_every`, because batches are whole. Raises UserError for anything else, and says what there is.
    """
    if choice in ("latest", "auto"):
        newest = latest(run_dir, warn)
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
    if folders(path):
        return resolve(path, "latest", warn)
    return _read(path)


def latest(run_dir: Path, warn: Warn) -> Checkpoint | None:
    """The newest whole checkpoint of a run, None if it has none."""
    for folder in reversed(folders(run_dir).values()):
        try:
            return checkpoints.read(folder)
        except InvalidCheckpointError as error:
            warn(f"damaged checkpoint {error}; taking the one before it")
    return None


def retain(run_dir: Path, keep: int) -> None:
    """Delete all but the `keep` newest checkpoints and the best by mean return of at least ten games."""
    found = folders(run_dir)
    kept = set(list(found)[-keep:]) | best_steps(found)
    for step, folder in found.items():
        if step not in kept:
            shutil.rmtree(folder)


def best_steps(found: dict[int, Path]) -> set[int]:
    """The step of the best checkpoint, the newer of two alike; empty if none has enough games behind it."""
    scores: dict[int, float] = {}
    for step, folder in found.items():
        try:
            state = checkpoints.CheckpointState.model_validate_json((folder / checkpoints.STATE_FILE).read_bytes())
        except (OSError, ValueError):
            continue
        if len(state.recent_returns) >= MIN_EPISODES_OF_BEST and state.return_mean is not None:
            scores[step] = state.return_mean
    return {max(scores, key=lambda step: (scores[step], step))} if scores else set()


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
    found = folders(run_dir)
    for saved, folder in found.items():
        if saved >= step:
            checkpoint = _read(folder)
            if saved < step + checkpoint.state.save_every:
                return checkpoint
            break
    there = ", ".join(str(saved) for saved in found) or "none"
    raise UserError(f"checkpoint {step}: {run_dir} has none within --save-every past it; there are: {there}")
