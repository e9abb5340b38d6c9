"""Which checkpoint `evaluate` and `play` mean."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from headrace_learner import checkpoint_policy, checkpoint_store
from headrace_learner.checkpoints import Checkpoint, InvalidCheckpointError
from headrace_proto import environments
from headrace_proto.errors import UserError
from headrace_proto.networks import PolicyNetwork, ValueNetwork
from headrace_proto.settings import CheckpointChoice


def choose(settings: CheckpointChoice) -> Checkpoint:
    """The checkpoint of the settings; raises UserError if there is none, or if it is of another game than asked."""
    choice = settings.checkpoint
    names_run = choice in ("latest", "auto") or choice.isdecimal()
    run_dir = _run_folder(settings) if names_run else settings.runs
    checkpoint = checkpoint_store.resolve(run_dir, choice, lambda text: print(text, file=sys.stderr))
    if checkpoint is None:
        raise UserError(
            f"--checkpoint {choice}: {run_dir} has no checkpoint any more; train on, or choose another run by --name"
        )
    _require_game(settings, checkpoint)
    return checkpoint


def read_network(checkpoint: Checkpoint) -> ValueNetwork | PolicyNetwork:
    """The network of a checkpoint that was chosen; raises UserError if a training has deleted it since."""
    try:
        return checkpoint_policy.read_network(checkpoint)
    except (OSError, InvalidCheckpointError) as error:
        raise UserError(
            f"the checkpoint {checkpoint.path} can be read no more: {error}; a training deletes its older checkpoints: "
            "choose again, or raise its --keep"
        ) from error


def _require_game(settings: CheckpointChoice, checkpoint: Checkpoint) -> None:
    state = checkpoint.state
    if settings.game is not None:
        asked = environments.find_game(settings.game).name
        if asked != state.run.game:
            raise UserError(
                f"--game {settings.game}: that is {asked}, and the checkpoint {checkpoint.path} is of {state.run.game}"
            )
    require_same_actions(checkpoint)


def require_same_actions(checkpoint: Checkpoint) -> None:
    """Raise UserError if the checkpoint's game has other actions here than where it was trained."""
    state = checkpoint.state
    here = environments.action_names(environments.find_game(state.run.game))
    if here != state.action_names:
        raise UserError(
            f"the checkpoint {checkpoint.path} has actions {', '.join(state.action_names)}, {state.run.game} here has "
            f"{', '.join(here)}; use the versions it was made with: {state.versions}"
        )


def _run_folder(settings: CheckpointChoice) -> Path:
    saved = {path: checkpoint_store.last_saved(path) for path in settings.runs.glob("*")}
    runs = {path: time for path, time in saved.items() if time is not None}
    if settings.name is not None:
        folder = settings.runs / settings.name
        if folder in runs:
            return folder
        near = difflib.get_close_matches(settings.name, [path.name for path in runs], n=1, cutoff=0.3)
        there = ", ".join(sorted(path.name for path in runs)) or "none; train one, or give --checkpoint a path"
        hint = f"did you mean {near[0]}?" if near else f"there are: {there}"
        raise UserError(f"--name {settings.name}: {settings.runs} has no run of that name with checkpoints; {hint}")
    if not runs:
        raise UserError(f"--runs {settings.runs}: no run there has checkpoints; train one, or give --checkpoint a path")
    return max(runs, key=lambda path: runs[path])
