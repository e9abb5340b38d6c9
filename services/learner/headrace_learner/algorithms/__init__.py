"""The algorithms by name. To add one: a file here with a class of the interface, and its entry in `ALGORITHMS`."""

from __future__ import annotations

from collections.abc import Callable

from headrace_learner.algorithms.a3c import A3C
from headrace_learner.algorithms.interface import Algorithm, Evaluation
from headrace_learner.algorithms.nstep_q import NStepQ
from headrace_learner.algorithms.one_step_q import OneStepQ
from headrace_learner.algorithms.one_step_sarsa import OneStepSarsa
from headrace_learner.algorithms.pqn import PQN
from headrace_proto.presets import AlgorithmName
from headrace_proto.run_settings import RunSettings

__all__ = ["ALGORITHMS", "Algorithm", "Evaluation", "make"]

ALGORITHMS: dict[AlgorithmName, Callable[[RunSettings], Algorithm]] = {
    "pqn": PQN,
    "nstep-q": NStepQ,
    "one-step-q": OneStepQ,
    "one-step-sarsa": OneStepSarsa,
    "a3c": A3C,
}


def make(settings: RunSettings) -> Algorithm:
    """The algorithm that the settings name."""
    return ALGORITHMS[settings.algorithm](settings)
