"""Checkpoints: the whole learner in a folder of safetensors and JSON, written whole or not at all.

`checkpoints/step-000250013/` holds `model.safetensors` and `state.json`, whose `model_sha256` tells a half-written or
corrupt checkpoint from a good one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError, safe_open

from headrace_proto.errors import HeadraceError, UserError
from headrace_proto.run_settings import HELD_BEFORE, RunSettings
from headrace_proto.settings import CheckpointSettings
from headrace_proto.specification import RunSpecification

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.json"
CHECKPOINTS_FOLDER = "checkpoints"


class InvalidCheckpointError(HeadraceError):
    """A folder that is not a whole checkpoint, and why."""


class CheckpointState(BaseModel):
    """state.json: everything of a learner that is not a tensor.

    env_steps, updates, episodes: of the run, over all its processes
    weights_version: of the weights in it; a resumed learner counts on from the gate's instead
    recent_returns: raw scores of the last games, oldest first
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(1, ge=1, le=1)
    env_steps: int = Field(ge=0)
    frames: int = Field(ge=0)
    updates: int = Field(ge=0)
    episodes: int = Field(ge=0)
    weights_version: int = Field(ge=0)
    recent_returns: list[float]
    best_return: float | None
    finished: bool
    run: RunSpecification
    action_names: list[str]
    settings: dict[str, Any]
    versions: dict[str, str]
    saved_at: float = Field(default_factory=time.time)
    model_sha256: str = ""

    @field_validator("run", mode="before")
    @classmethod
    def _add_what_came_later(cls, run: Any) -> Any:
        """What older checkpoints do not say, since it could not be otherwise."""
        held = {name: value for name, value in HELD_BEFORE.items() if name in RunSpecification.model_fields}
        return {**held, "epsilon_tail_steps": 0, **run} if isinstance(run, dict) else run

    @property
    def return_mean(self) -> float | None:
        """Mean raw score of the last games, None before the first one ended."""
        return sum(self.recent_returns) / len(self.recent_returns) if self.recent_returns else None

    @property
    def save_every(self) -> int:
        """Steps between the checkpoints of the run."""
        return int(self.settings.get("save_every", CheckpointSettings.model_fields["save_every"].default))

    def run_settings(self) -> dict[str, Any]:
        """The settings that a resumed run takes over: all but those of the process that saved them."""
        names = {*RunSettings.model_fields, "save_every", "keep"}
        return {name: value for name, value in {**HELD_BEFORE, **self.settings}.items() if name in names}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that has been found whole."""

    path: Path
    state: CheckpointState

    def tensors(self) -> dict[str, Tensor]:
        """Networks, optimizer and random numbers, by the names of `Learner.tensors`.

        Raises OSError, and InvalidCheckpointError for what torch cannot hold.
        """
        import safetensors.torch

        try:
            return safetensors.torch.load_file(self.path / MODEL_FILE)
        except (SafetensorError, KeyError, RuntimeError) as error:
            raise InvalidCheckpointError(f"{self.path}: {MODEL_FILE} is not a checkpoint's: {error}") from None


def read(folder: Path) -> Checkpoint:
    """Read and check a checkpoint; raises InvalidCheckpointError for one that is not whole."""
    try:
        state = CheckpointState.model_validate_json((folder / STATE_FILE).read_bytes())
        with (folder / MODEL_FILE).open("rb") as model:
            checksum = hashlib.file_digest(model, "sha256").hexdigest()
    except OSError as error:
        raise InvalidCheckpointError(f"{folder}: {Path(error.filename or folder).name}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidCheckpointError(f"{folder}: {STATE_FILE} is not a checkpoint's: {where} {first['msg']}") from error
    if checksum != state.model_sha256:
        raise InvalidCheckpointError(
            f"{folder}: {MODEL_FILE} is cut short or damaged: its SHA-256 is not the saved one"
        )
    try:
        with safe_open(folder / MODEL_FILE, framework="numpy"):  # holds the header against the file's length
            return Checkpoint(folder, state)
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpointError(f"{folder}: {MODEL_FILE} is not a checkpoint's: {error}") from error


def write(folder: Path, state: CheckpointState, tensors: dict[str, Tensor]) -> Checkpoint:
    """Write a checkpoint whole or not at all: a temporary sibling, fsync, rename. Raises OSError, e.g. disk full."""
    import safetensors.torch

    blob = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    state = state.model_copy(update={"model_sha256": hashlib.sha256(blob).hexdigest()})
    partial = folder.with_name(partial_name(folder.name))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_durably(partial / MODEL_FILE, blob)
        _write_durably(partial / STATE_FILE, state.model_dump_json(indent=2).encode())
        _sync(partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        _sync(folder.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Checkpoint(folder, state)


def partial_name(name: str) -> str:
    """What a checkpoint's folder is called until it is whole."""
    return f".{name}.partial"


def require_same_game(state: CheckpointState, run: RunSpecification, action_names: list[str]) -> None:
    """Raise UserError, naming both sides, if a run cannot go on from a checkpoint."""
    saved = state.run
    pairs = {
        "game": (saved.game, run.game),
        "actions": (", ".join(state.action_names), ", ".join(action_names)),
        "network": (saved.network, run.network),
        "layer normalisation": (saved.layer_norm, run.layer_norm),
        "the precision": (saved.precision, run.precision),
        "a head": (saved.head, run.head),
        "an LSTM": (saved.lstm, run.lstm),
        "states of shape": (saved.state_shape, run.state_shape),
        "frames of type": (saved.frame_dtype, run.frame_dtype),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise UserError(
                f"the checkpoint at env_steps {state.env_steps} has {what} {theirs}, this run has {ours}; choose a "
                "checkpoint of this run or the settings of the checkpoint"
            )


def versions() -> dict[str, str]:
    """Releases of what a result depends on."""
    import platform

    packages = ("headrace-learner", "torch", "numpy", "gymnasium", "ale-py")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
