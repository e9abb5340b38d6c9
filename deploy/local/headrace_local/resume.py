"""Which run and which checkpoint `--resume` means."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from headrace_learner import checkpoint_store
from headrace_learner.checkpoints import CHECKPOINTS_FOLDER, Checkpoint
from headrace_proto.environments import find_game
from headrace_proto.errors import UserError
from headrace_proto.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Resumption:
    """A checkpoint, and its run to go on with; None to begin a new run with it."""

    run_dir: Path | None
    checkpoint: Checkpoint


def find(settings: TrainSettings) -> Resumption | None:
    """The run and checkpoint meant; None for `auto` where there is none. Raises UserError."""
    found = _find(settings, settings.resume or "latest")
    game = _game_asked_for(settings)
    if found is not None and game not in (None, saved_game(found.checkpoint)):
        raise UserError(
            f"--game {settings.game}: {found.checkpoint.path} is of {saved_game(found.checkpoint)}; "
            "leave out --game or --resume"
        )
    return found


def saved_game(checkpoint: Checkpoint) -> str:
    """Canonical name of a checkpoint's game."""
    return find_game(checkpoint.state.run.game).name


def _find(settings: TrainSettings, choice: str) -> Resumption | None:
    if choice not in ("latest", "auto") and not choice.isdecimal():
        return _at_path(settings, Path(choice))
    if settings.name is not None:
        return _in_run(settings.runs / settings.name, choice, settings)
    return _in_newest_run(choice, settings)


def _at_path(settings: TrainSettings, path: Path) -> Resumption:
    if not path.exists():
        raise UserError(f"--resume {path}: no such checkpoint; allowed: latest, auto, a step number or a path")
    checkpoint = checkpoint_store.resolve(path, str(path.absolute()), _warn)
    assert checkpoint is not None, "only auto finds nothing"
    own = next((folder.parent for folder in checkpoint.path.parents if folder.name == CHECKPOINTS_FOLDER), None)
    named = own if settings.name is None else settings.runs.absolute() / settings.name
    return Resumption(own if own == named else None, checkpoint)


def _in_run(run_dir: Path, choice: str, settings: TrainSettings) -> Resumption | None:
    checkpoint = checkpoint_store.resolve(run_dir, choice, _warn)
    return Resumption(run_dir, checkpoint) if checkpoint is not None else None


def _in_newest_run(choice: str, settings: TrainSettings) -> Resumption | None:
    game = _game_asked_for(settings)
    for run_dir in _newest_first(settings.runs):
        newest = checkpoint_store.latest(run_dir, warn=lambda text: None)
        if newest is not None and game in (None, saved_game(newest)):
            return _in_run(run_dir, choice, settings)
    if choice == "auto":
        return None
    of_game = f" of {game}" if game else ""
    raise UserError(f"--resume {choice}: no run{of_game} in {settings.runs} has a checkpoint; train without --resume")


def _warn(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _game_asked_for(settings: TrainSettings) -> str | None:
    return find_game(settings.game).name if "game" in settings.model_fields_set else None


def _newest_first(runs: Path) -> list[Path]:
    saved = [(path.stat().st_mtime, path.parents[1]) for path in runs.glob(f"*/{CHECKPOINTS_FOLDER}/step-*")]
    return list(dict.fromkeys(run_dir for _, run_dir in sorted(saved, reverse=True)))
