"""Which run and which checkpoint `--resume` means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headrace_proto.environments import find_game
from headrace_proto.errors import UserError
from headrace_proto.settings import TrainSettings


class Checkpoint(Protocol):
    """What is needed of a learner's checkpoint."""

    @property
    def path(self) -> Path:
        """Where it is: `<run>/checkpoints/<checkpoint>`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of its run."""


Resolve = Callable[[Path, str], Checkpoint]
"""Finds the checkpoint that a choice (latest, a step number, a path) means in a run; raises UserError."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A run to go on with, from a checkpoint."""

    run_dir: Path
    checkpoint: Checkpoint


def find(settings: TrainSettings, resolve: Resolve) -> Resumption | None:
    """The run and checkpoint meant; None for `auto` where there is none. Raises UserError."""
    choice = settings.resume or "latest"
    game = find_game(settings.game).name if "game" in settings.model_fields_set else None
    try:
        found = _at_path(settings, resolve) if _is_path(choice) else _in_runs(settings, choice, game, resolve)
    except UserError:
        if choice == "auto":
            return None
        raise
    saved_game = find_game(found.checkpoint.settings["game"]).name
    if game is not None and game != saved_game:
        raise UserError(
            f"--game {settings.game}: {found.checkpoint.path} is of {saved_game}; leave out --game or --resume"
        )
    return found


def _is_path(choice: str) -> bool:
    return choice not in ("latest", "auto") and not choice.isdecimal()


def _at_path(settings: TrainSettings, resolve: Resolve) -> Resumption:
    path = Path(settings.resume or "").absolute()
    if not path.exists():
        raise UserError(f"--resume {settings.resume}: no such checkpoint; allowed: latest, a step number or a path")
    own_run = path.parents[1] if len(path.parents) > 1 else path.parent
    checkpoint = resolve(own_run, str(path))
    return Resumption(settings.runs / settings.name if settings.name else own_run, checkpoint)


def _in_runs(settings: TrainSettings, choice: str, game: str | None, resolve: Resolve) -> Resumption:
    if settings.name is not None:
        return Resumption(settings.runs / settings.name, resolve(settings.runs / settings.name, choice))
    for run_dir in _newest_first(settings.runs):
        if game is None or _game_of(run_dir, resolve) == game:
            return Resumption(run_dir, resolve(run_dir, choice))
    of_game = f" of {game}" if game else ""
    raise UserError(f"--resume {choice}: no run{of_game} in {settings.runs} has a checkpoint; train without --resume")


def _newest_first(runs: Path) -> list[Path]:
    saved = [(checkpoint.stat().st_mtime, checkpoint.parents[1]) for checkpoint in runs.glob("*/checkpoints/*")]
    return list(dict.fromkeys(run_dir for _, run_dir in sorted(saved, reverse=True)))


def _game_of(run_dir: Path, resolve: Resolve) -> str | None:
    try:
        return find_game(resolve(run_dir, "latest").settings["game"]).name
    except UserError:
        return None
