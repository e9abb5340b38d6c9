"""Saves a learner to its run's folder; a failing disk stops no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace_learner import checkpoint_store, checkpoints
from headrace_learner.checkpoints import Checkpoint, CheckpointState, InvalidCheckpointError
from headrace_learner.training import Learner
from headrace_proto.errors import NonFiniteError, UserError
from headrace_proto.logs import Logger
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import LearnerSettings
from headrace_proto.specification import RunSpecification


class Saver:
    """Writes checkpoints of one learner and keeps as many as the settings say."""

    def __init__(
        self,
        settings: LearnerSettings,
        run: RunSpecification,
        action_names: list[str],
        metrics: LearnerMetrics,
        log: Logger,
    ) -> None:
        self._settings = settings
        self._run = run
        self._action_names = action_names
        self._metrics = metrics
        self._log = log
        self.last: Checkpoint | None = None

    def resumed(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; later ones of the run, damaged or of an abandoned attempt, are set aside."""
        self.last = checkpoint
        self._metrics.checkpoint_timestamp.set(checkpoint.state.saved_at)
        try:
            moved = checkpoint_store.set_aside_after(self._settings.run_dir, checkpoint.state.env_steps)
        except OSError as error:
            self._log.error("checkpoints_not_set_aside", error=str(error), action="training goes on")
            return
        if moved:
            self._log.warning("checkpoints_set_aside", folders=[str(path) for path in moved])

    def save_first(self, learner: Learner) -> None:
        """Save before training, so that a restart always finds a checkpoint; raises UserError if that fails."""
        try:
            self._write(learner, weights_version=0)
        except OSError as error:
            raise UserError(
                f"--run-dir {self._settings.run_dir}: cannot save a checkpoint: {error.strerror}; choose a folder with "
                "room that you may write to"
            ) from error

    def has_saved(self, learner: Learner) -> bool:
        """Whether the step that a learner is at is saved."""
        return self.last is not None and self.last.path == self._folder(learner)

    def save(self, learner: Learner, weights_version: int, action: str = "training goes on") -> None:
        """Save unless this step is saved; a disk that fails is logged with `action`, and earlier checkpoints stay."""
        if self.has_saved(learner):
            return
        if not learner.parameters_are_finite():
            raise NonFiniteError(
                f"the network at env_steps {learner.counters.env_steps} is not finite; it is not saved"
            )
        try:
            self._write(learner, weights_version)
            checkpoint_store.retain(self._settings.run_dir, self._settings.keep)
        except OSError as error:
            self._log.error("checkpoint_failed", error=str(error), env_steps=learner.counters.env_steps, action=action)

    def require_saved(self, learner: Learner) -> None:
        """Raise UserError if a learner that ends is not saved: what it trained last is lost, and must not look kept."""
        if not self.has_saved(learner):
            last = f"the last one is {self.last.path}" if self.last else "there is none"
            raise UserError(
                f"--run-dir {self._settings.run_dir}: no checkpoint could be saved at the end, env_steps "
                f"{learner.counters.env_steps}; {last}; make room, then go on from there with --resume latest"
            )

    def _folder(self, learner: Learner) -> Path:
        return checkpoint_store.folder_of(self._settings.run_dir, learner.counters.env_steps)

    def _write(self, learner: Learner, weights_version: int) -> None:
        state = self._state(learner, weights_version)
        self.last = checkpoints.write(self._folder(learner), state, learner.tensors())
        self._metrics.checkpoint_timestamp.set(state.saved_at)
        self._log.info("checkpoint_saved", path=str(self.last.path), env_steps=state.env_steps)

    def _state(self, learner: Learner, weights_version: int) -> CheckpointState:
        counters = learner.counters
        return CheckpointState(
            env_steps=counters.env_steps,
            frames=counters.env_steps * self._run.frame_skip,
            updates=counters.updates,
            episodes=counters.episodes,
            weights_version=weights_version,
            recent_returns=list(counters.recent_returns),
            best_return=counters.best_return,
            finished=counters.env_steps >= self._settings.steps,
            run=self._run,
            action_names=self._action_names,
            settings=recorded(self._settings),
            versions=checkpoints.versions(),
        )


def recorded(settings: RunSettings) -> dict[str, Any]:
    """The settings as a run keeps them, schedules resolved: it goes on with the same, whatever --steps or defaults."""
    return settings.model_dump(mode="json") | settings.schedules


def restore(learner: Learner, checkpoint: Checkpoint) -> None:
    """Put a learner where a checkpoint was saved; raises UserError if it is of another network or optimizer."""
    saved_optimizer = checkpoint.state.settings.get("optimizer", learner.settings.optimizer)
    if saved_optimizer != learner.settings.optimizer:
        raise UserError(
            f"--optimizer {learner.settings.optimizer}: the checkpoint at env_steps {checkpoint.state.env_steps} was "
            f"trained with {saved_optimizer}, whose state it holds; allowed: {saved_optimizer}"
        )
    try:
        learner.load_tensors(checkpoint.tensors())
    except OSError as error:
        raise UserError(
            f"the checkpoint {checkpoint.path} can be read no more: {error}; choose another, or latest"
        ) from error
    except (InvalidCheckpointError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"cannot use the checkpoint {checkpoint.path}: its tensors are not this learner's: {error}; choose "
            "another, or latest"
        ) from error
    state, counters = checkpoint.state, learner.counters
    counters.env_steps = state.env_steps
    counters.updates = state.updates
    counters.episodes = state.episodes
    counters.best_return = state.best_return
    counters.recent_returns.extend(state.recent_returns)
