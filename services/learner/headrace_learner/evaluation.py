"""`headrace evaluate`: scores of a checkpoint over whole games."""

from __future__ import annotations

import json
import statistics
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from headrace_learner import checkpoint_policy
from headrace_learner.checkpoint_policy import CheckpointPolicy
from headrace_learner.checkpoints import Checkpoint
from headrace_learner.choice import choose, read_network
from headrace_proto import environments
from headrace_proto.arguments import parse
from headrace_proto.settings import EvaluateSettings
from headrace_proto.specification import RunSpecification

MAX_ENVIRONMENTS = 8
NOOP_MAX = 30
"""Most no-op actions at the start of a game, so that games differ, whatever the run trained with."""


def main(arguments: Sequence[str]) -> None:
    """Play and print; raises UserError."""
    settings = parse(EvaluateSettings, arguments, "headrace evaluate")
    checkpoint = choose(settings)
    epsilon = checkpoint_policy.epsilon_for(checkpoint.state.run, settings.epsilon)
    scores = evaluate(checkpoint, settings.episodes, epsilon, settings.seed)
    result = summary(checkpoint, scores, epsilon, settings.seed)
    print(json.dumps(result) if settings.json_output else describe(result))


def evaluate(checkpoint: Checkpoint, episodes: int, epsilon: float, seed: int) -> list[float]:
    """Raw scores of whole games in the order of their ends; raises UserError if the checkpoint is there no more."""
    run = checkpoint.state.run
    policy = checkpoint_policy.make(read_network(checkpoint), run, epsilon, seed)
    return [score for ended in play_games(policy, run, episodes, seed) for score in ended]


def play_games(
    policy: CheckpointPolicy, run: RunSpecification, episodes: int, seed: int
) -> Generator[list[float], None, None]:
    """Play whole games from no-op starts, lives lost not ending them; yields after every step the scores that it ended.

    Every environment plays a number of games that is fixed beforehand: the first to end would favour short games.
    """
    run = run.model_copy(update={"noop_max": NOOP_MAX})
    count = min(MAX_ENVIRONMENTS, episodes)
    left = [len(range(index, episodes, count)) for index in range(count)]
    running, over = np.zeros(count), np.zeros(count, np.bool_)
    with closing(environments.make_vector(run, count)) as vector:
        observations, _ = vector.reset(seed=seed)
        while any(left):
            actions = policy.actions(environments.stacked(observations, run))
            observations, rewards, terminated, truncated, _ = vector.step(actions)
            for index in np.flatnonzero(over):
                policy.begin_game(int(index))  # the step after a game's end has only reset it
            over = terminated | truncated
            running += rewards
            ended = []
            for index in np.flatnonzero(over):
                if left[index]:
                    ended.append(float(running[index]))
                    left[index] -= 1
                running[index] = 0.0
            yield ended


def summary(checkpoint: Checkpoint, scores: list[float], epsilon: float, seed: int) -> dict[str, Any]:
    """What `--json` prints; the deviation is the sample's standard deviation, 0 for one game."""
    state = checkpoint.state
    return {
        "game": state.run.game,
        "checkpoint": str(checkpoint.path),
        "env_steps": state.env_steps,
        "frames": state.frames,
        "episodes": len(scores),
        "epsilon": epsilon,
        "seed": seed,
        "mean": statistics.fmean(scores),
        "median": statistics.median(scores),
        "standard_deviation": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "minimum": min(scores),
        "maximum": max(scores),
        "scores": scores,
    }


def describe(result: dict[str, Any]) -> str:
    """The summary for a person."""
    noops = f", up to {NOOP_MAX} no-ops" if environments.find_game(result["game"]).is_atari else ""
    return (
        f"{result['game']}  {result['checkpoint']}  env_steps {result['env_steps']:,}\n"
        f"{result['episodes']} games, epsilon {result['epsilon']}, seed {result['seed']}{noops}\n"
        f"mean {result['mean']:.2f}  median {result['median']:.2f}  standard deviation "
        f"{result['standard_deviation']:.2f}  minimum {result['minimum']:g}  maximum {result['maximum']:g}"
    )
