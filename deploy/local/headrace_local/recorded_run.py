"""A run as its folder records it: what was asked for, and its curve over steps and over time of training."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_learner.training_log import METRICS_FILE
from headrace_local import run_folder
from headrace_proto import environments
from headrace_proto.conditions import counts
from headrace_proto.environments import Game
from headrace_proto.errors import UserError
from headrace_proto.run_settings import HELD_BEFORE, RunSettings

Floats = NDArray[np.float64]

LEARNER_SETTINGS_FILE = "settings.json"
LONGEST_GAP_SECONDS = 60.0
"""The learner writes a row every five seconds, also while it waits: between rows further apart it did not run."""
ROW_SECONDS = 5.0
"""What the first row after such a pause, or of a run, counts for."""
SCORED_GAMES = 100
"""A score is the mean over so many. Until they have ended, the learner shows one of fewer, in which luck decides."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """When a run first reached a score."""

    env_steps: float
    minutes: float


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run's settings, schedules resolved, and its rows from the first ended game on.

    env_steps, minutes, returns: float64 [rows], minutes of training without pauses, mean raw score of the last 100
    games, or of all where fewer have ended, as the exploring actors played them
    episodes: float64 [rows], games ended; NaN where that was not recorded
    """

    name: str
    game: Game
    settings: Mapping[str, Any]
    env_steps: Floats
    minutes: Floats
    returns: Floats
    episodes: Floats

    @property
    def seed(self) -> int:
        """The seed that it was asked for."""
        return int(self.settings["seed"])

    @property
    def best(self) -> float | None:
        """The highest score; None before there is one."""
        scores = self.returns[self._is_scored]
        return float(scores.max()) if len(scores) else None

    @property
    def _is_scored(self) -> NDArray[np.bool_]:
        """Rows whose return is a score, also where nobody knows of how many games: bool [rows]."""
        return ~(self.episodes < SCORED_GAMES)

    def first_reached(self, score: float) -> Milestone | None:
        """When the score was first at least this; None if it never was."""
        reached = np.flatnonzero(self._is_scored & (self.returns >= score))
        return Milestone(float(self.env_steps[reached[0]]), float(self.minutes[reached[0]])) if len(reached) else None


def read(folder: Path) -> RecordedRun:
    """Read the folder of a run; raises UserError where it records no settings or no score yet."""
    settings = resolved(_read_settings(folder))
    game = environments.find_game(settings["game"])
    env_steps, minutes, returns, episodes = _read_curve(folder / METRICS_FILE)
    if not len(returns):
        raise UserError(f"{folder}: no game has ended in {METRICS_FILE} yet; let the run go on, or leave it out")
    settings["game"] = game.name
    return RecordedRun(folder.resolve().name, game, settings, env_steps, minutes, returns, episodes)


def training_seconds(times: Floats) -> Floats:
    """Seconds of training up to each row, float64 [rows], of the clock's time at each row in seconds.

    A gap of more than a minute is a pause and counts as one row: the run was stopped there and resumed, or it was
    killed, and the work between its checkpoint and its end, which no row shows, was done anew.
    """
    gaps = np.diff(times, prepend=-np.inf)
    return np.cumsum(np.where(gaps > LONGEST_GAP_SECONDS, ROW_SECONDS, np.maximum(gaps, 0.0)))


def resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with numbers for what was left open and follows from others, and None for what does not count."""
    run = RunSettings.model_construct(**{name: settings[name] for name in RunSettings.model_fields if name in settings})
    following = {
        "rollout_length": run.rollout_transitions,
        "middle_epsilon": run.middle_of_epsilon,
        **run.schedules,
    }
    idle = {name: None for name in RunSettings.model_fields if not counts(run, name)}
    return {**settings, **following, **idle}


def _read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the learner, and of all else where `headrace train` recorded them."""
    learner, everything = folder / LEARNER_SETTINGS_FILE, folder / run_folder.SETTINGS_FILE
    settings = {**HELD_BEFORE, **(_settings_in(everything) if everything.exists() else {}), **_settings_in(learner)}
    if not {"game", "seed", "steps"} <= settings.keys():
        raise UserError(f"{learner}: has no game, seed and steps; compare takes folders of runs")
    return settings


def _settings_in(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes())["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: cannot be read as the settings of a run; compare takes folders of runs") from None


def _read_curve(path: Path) -> tuple[Floats, Floats, Floats, Floats]:
    """Steps, minutes of training, returns and games of the rows that have a return; not of a last row cut short."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if None not in row.values()]
        times, env_steps, returns = (
            np.array([float(row[column] or "nan") for row in rows])
            for column in ("time", "env_steps", "return_mean_100")
        )
        episodes = np.array([float(row.get("episodes") or "nan") for row in rows])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; compare takes runs that have begun to train") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read as curves of a run: {error}; leave that run out") from None
    scored = ~np.isnan(returns)
    return env_steps[scored], training_seconds(times)[scored] / 60.0, returns[scored], episodes[scored]
