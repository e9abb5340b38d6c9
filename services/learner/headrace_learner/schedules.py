"""What depends on the step count alone, so that a resumed run continues exactly. Pure."""

from __future__ import annotations


def learning_rate(initial: float, decay_steps: int, env_steps: int) -> float:
    """Linear from `initial` at step 0 to 0 at `decay_steps`, and 0 from there on."""
    return initial * max(0.0, 1.0 - env_steps / decay_steps)


def passes_multiple(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]: each one is noticed once, the first at `every` itself."""
    return after // every > before // every


def share_kept(largest: float, updates: int) -> float:
    """What an exponential moving average keeps of itself: `largest`, but less at the start of a run, which it forgets.

    After n updates (1 + n) / (10 + n), so that the mean is one of about the last ninth of them.
    """
    return min(largest, (1 + updates) / (10 + updates))
