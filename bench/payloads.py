"""Real frames for the benchmarks of queues: a game of Pong and one of CartPole, played at random."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from headrace_proto import environments
from headrace_proto.specification import RunSpecification

FRAMES = 400


def record(run: RunSpecification, path: Path) -> Path:
    """Write raw frames of the run's game, [400, *frame_shape], in its dtype; returns the path."""
    random = np.random.default_rng(run.seed)
    with closing(environments.make_vector(run, 1)) as vector:
        observations, _ = vector.reset(seed=run.seed)
        frames = []
        for _ in range(FRAMES):
            frames.append(environments.stacked(observations, run)[0, -1].copy())
            observations = vector.step(random.integers(run.actions, size=1))[0]
    np.stack(frames).tofile(path)
    return path
