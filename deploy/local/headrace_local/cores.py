"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cgroup_limit: Path = _CGROUP_LIMIT) -> int:
    """Cores of the process's affinity mask, or fewer where its control group (a container) is limited."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup_limit.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def default_actors(cores: int) -> int:
    """One core is the learner's and each other an actor's; two actors at least, so that one can be lost."""
    return max(2, cores - 1)


def default_learner_threads(cores: int, actors: int) -> int:
    """The cores that the actors leave; eight at most, since the networks are too small for more."""
    return min(8, max(1, cores - actors))
