"""How every driver of a peer is told what to do and says how fast it was; needs nothing but Python.

A driver trains Pong with a peer in an environment of its own, calls `Meter.at` with the env steps trained so far, agent
steps of four frames each (the ancestor's: of three, on average), and stops when that says so. It then prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time


class Meter:
    """Steps/s between the end of the warm-up and the end of the measured steps."""

    def __init__(self, warm_up_steps: int, steps: int) -> None:
        self._warm_up_steps = warm_up_steps
        self._steps = steps
        self._begin: tuple[float, float] | None = None
        self._end: tuple[float, float] | None = None

    def at(self, env_steps: float) -> bool:
        """So many steps are trained; returns whether that is enough."""
        now = time.monotonic()
        if self._begin is None:
            if env_steps >= self._warm_up_steps:
                self._begin = now, env_steps
        elif env_steps >= self._begin[1] + self._steps:
            self._end = now, env_steps
        return self._end is not None

    @property
    def steps_per_second(self) -> float:
        """Over the measured steps; raises RuntimeError before they are done."""
        if self._begin is None or self._end is None:
            raise RuntimeError("the peer ended before it had trained as many steps as are measured")
        return (self._end[1] - self._begin[1]) / (self._end[0] - self._begin[0])

    def report(self, peer: str, **settings: object) -> None:
        """Print the result as one line of JSON."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(
            json.dumps(
                {
                    "peer": peer,
                    "steps_per_second": self.steps_per_second,
                    "cpu_seconds": used.ru_utime + used.ru_stime,
                    "settings": settings,
                }
            )
        )


def parser(description: str | None, environments: int) -> argparse.ArgumentParser:
    """Flags that every driver has."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n\n")[0])
    made.add_argument("--warm-up-steps", type=int, default=2_000)
    made.add_argument("--steps", type=int, default=10_000)
    made.add_argument("--environments", type=int, default=environments)
    made.add_argument("--threads", type=int, default=1, help="compute threads; set before torch is imported")
    return made


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the flags, and tell OpenMP its threads, which it reads when torch is imported."""
    options = made.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    return options
