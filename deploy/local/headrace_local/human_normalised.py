"""Human-normalised scores of Atari games: 0 % is a random player, 100 % a human.

The scores of both are those of Wang et al. 2016, arXiv 1511.06581 (`atari_scores.csv`), compared number by number
with two transcriptions that agree: google-deepmind/dqn_zoo, `atari_data.py`, and seungjaeryanlee/rldb.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace_proto.environments import Game

ScoreT = TypeVar("ScoreT", float, NDArray[np.float64])

SOURCE = "Wang et al. 2016, arXiv 1511.06581"


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """Mean raw scores of two players; from a score to percent and back, one or an array of them."""

    random: float
    human: float

    def normalised(self, score: ScoreT) -> ScoreT:
        """Percent: 100 (score - random) / (human - random)."""
        return 100.0 * (score - self.random) / (self.human - self.random)

    def score_of(self, normalised: ScoreT) -> ScoreT:
        """The raw score of so many percent."""
        return self.random + normalised / 100.0 * (self.human - self.random)


def reference_scores(game: Game) -> ReferenceScores | None:
    """Those of a game; None for one that the table does not have."""
    return table().get(game.rom) if game.rom is not None else None


@cache
def table() -> dict[str, ReferenceScores]:
    """By the name of the game's ROM, e.g. space_invaders."""
    text = resources.files(__package__).joinpath("atari_scores.csv").read_text()
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["game"]: ReferenceScores(float(row["random"]), float(row["human"])) for row in rows}
