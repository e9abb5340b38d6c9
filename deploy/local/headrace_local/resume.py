"""Which run and which checkpoint `--resume` means."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_learner import checkpoint_store
from headrace_learner.checkpoints import CHECKPOINTS_FOLDER, Checkpoint
from headrace_local import run_folder
from headrace_proto.environments import find_game
from headrace_proto.errors import UserError
from headrace_proto.presets import PRESETS
from headrace_proto.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Resumption:
    """A checkpoint, and its run to go on with; None to begin a new run with it."""

    run_dir: Path | None
    checkpoint: Checkpoint

    def settings(self, asked: TrainSettings) -> dict[str, Any]:
        """What holds where neither a flag nor the environment speaks; raises UserError for a damaged record.

        The learner's settings are the checkpoint's. Those of gate and actors are of the last start of the run that the
        checkpoint lies in; where that says nothing, its preset still does.
        """
        of_learner = self.checkpoint.state.run_settings()
        preset = PRESETS.get(of_learner.get("preset", "default"), {})
        of_preset = {name: value for name, value in preset.items() if name in run_folder.RESUMED_SETTINGS}
        own = own_run(self.checkpoint.path)
        recorded = {} if own is None else run_folder.recorded(own)
        if asked.deterministic:  # has one actor, however many there were
            recorded.pop("actors", None)
        return {**of_preset, **recorded, **of_learner}


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


def own_run(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint lies in, None where it lies elsewhere."""
    return next((folder.parent for folder in checkpoint.parents if folder.name == CHECKPOINTS_FOLDER), None)


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
    own = own_run(checkpoint.path)
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
    saved = {path: checkpoint_store.last_saved(path) for path in runs.glob("*")}
    known = {path: time for path, time in saved.items() if time is not None}
    return sorted(known, key=lambda path: known[path], reverse=True)
