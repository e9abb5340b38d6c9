"""Exploration: every environment's epsilon, and the choice of actions by it. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace_actor import seeding
from headrace_proto.specification import RunSpecification

FINAL_EPSILONS = (0.1, 0.01, 0.5)
FINAL_EPSILON_PROBABILITIES = (0.4, 0.3, 0.3)

APEX_BASE = 0.4
APEX_ALPHA = 7.0
APEX_STEPS_ALONE = 8
"""Length of the ladder that actors of a single environment climb together."""


def final_epsilons(run: RunSpecification, actor: int) -> NDArray[np.float64]:
    """What the epsilons of an actor's environments end at, shape [environments].

    same: the run's final epsilon everywhere.
    paper: 0.1, 0.01 or 0.5 with probability 0.4, 0.3 and 0.3 for each environment (arXiv 1602.01783, section 5.1).
    round-robin: the same three in turn over the actors, one for all environments of an actor, as the ancestor had it.
    ape-x: the ladder 0.4 ** (1 + 7 i / (N - 1)) of arXiv 1803.00933 over the actor's N environments.
    """
    environments = run.environments_per_actor
    if run.exploration == "same":
        return np.full(environments, run.final_epsilon)
    if run.exploration == "round-robin":
        return np.full(environments, FINAL_EPSILONS[actor % len(FINAL_EPSILONS)])
    if run.exploration == "ape-x":
        return _apex_ladder(actor, environments)
    return np.array([_sampled(run.seed, actor, environment) for environment in range(environments)])


def annealed(run: RunSpecification, final: NDArray[np.float64], env_steps: int) -> NDArray[np.float64]:
    """Epsilons of environments that end at `final`, at a step of the run.

    Linear from 1 at step 0 to the run's middle epsilon, or to `final` where that is larger, over `epsilon_decay_steps`;
    from there linear to `final` over `epsilon_tail_steps`, and `final` ever after.
    """
    middle = np.maximum(final, run.middle_epsilon)
    if env_steps < run.epsilon_decay_steps:
        return _between(1.0, middle, env_steps, run.epsilon_decay_steps)
    return _between(middle, final, env_steps - run.epsilon_decay_steps, run.epsilon_tail_steps)


def epsilon_greedy(
    greedy: NDArray[np.int64], epsilons: NDArray[np.float64], uniforms: NDArray[np.float64], actions: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Actions of all environments and the probability with which each was chosen.

    With probability epsilon an action is drawn evenly from all of them, the greedy one included, so the behaviour
    policy gives epsilon/|A| to each action and 1 - epsilon more to the greedy one.

    greedy: [N]; epsilons: [N]; uniforms: [N, 2] from [0, 1), whether to explore and which action
    """
    drawn = (uniforms[:, 1] * actions).astype(np.int64)
    chosen = np.where(uniforms[:, 0] < epsilons, drawn, greedy)
    probabilities = epsilons / actions + (1.0 - epsilons) * (chosen == greedy)
    return chosen, probabilities.astype(np.float32)


def _between(
    start: NDArray[np.float64] | float, end: NDArray[np.float64], step: int, steps: int
) -> NDArray[np.float64]:
    progress = 1.0 if step >= steps else step / steps
    return (1.0 - progress) * start + progress * end


def _apex_ladder(actor: int, environments: int) -> NDArray[np.float64]:
    # An actor does not know how many others play, so each climbs the whole ladder. One with a single environment
    # would stay on the first rung: it takes the rung of its index instead.
    if environments == 1:
        rungs = np.array([actor % APEX_STEPS_ALONE]) / (APEX_STEPS_ALONE - 1)
    else:
        rungs = np.arange(environments) / (environments - 1)
    ladder: NDArray[np.float64] = APEX_BASE ** (1.0 + APEX_ALPHA * rungs)
    return ladder


def _sampled(run_seed: int, actor: int, environment: int) -> float:
    generator = seeding.final_epsilon_generator(run_seed, actor, environment)
    return float(generator.choice(FINAL_EPSILONS, p=FINAL_EPSILON_PROBABILITIES))
