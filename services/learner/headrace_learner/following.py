"""Follows the newest whole checkpoint of a run that another process trains."""

from __future__ import annotations

from pathlib import Path

from headrace_learner import checkpoint_store
from headrace_learner.checkpoints import Checkpoint
from headrace_proto.logs import Logger

Listing = tuple[tuple[int, int], ...]
"""Step and time of change of every checkpoint's folder."""


class Follower:
    """Gives each checkpoint that is the newest when it is asked for, once; those in between are skipped.

    A checkpoint is read, and so checked, only when the run's folder has changed.
    """

    def __init__(self, run_dir: Path, log: Logger) -> None:
        self._run_dir = run_dir
        self._log = log
        self._seen: Listing | None = None
        self._given: tuple[Path, float] | None = None
        self.waiting_for = "a checkpoint"

    def newer(self) -> Checkpoint | None:
        """The newest whole checkpoint, None if it was given before or if there is none."""
        listing = self._list()
        if listing == self._seen:
            return None
        self._seen = listing
        newest = checkpoint_store.latest(self._run_dir, lambda text: self._log.warning("checkpoint", warning=text))
        self.waiting_for = "a newer checkpoint" if newest else "a checkpoint"
        if newest is None or (newest.path, newest.state.saved_at) == self._given:
            return None
        self._given = (newest.path, newest.state.saved_at)
        return newest

    def give_again(self) -> None:
        """The last checkpoint could not be used after all: look anew."""
        self._seen = self._given = None

    def _list(self) -> Listing:
        try:
            found = checkpoint_store.folders(self._run_dir)
            return tuple((step, folder.stat().st_mtime_ns) for step, folder in found.items())
        except OSError:  # a folder that was deleted while it was looked at: the next look finds it gone
            return ()
