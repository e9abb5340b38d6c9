"""What to do when a process ends: a pure decision from its role, its exit status and its past."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headrace_local.processes import Role
from headrace_proto.errors import EXIT_NON_FINITE, EXIT_STOPPED, EXIT_USER_ERROR

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""A process that lived so long starts again with the first back-off."""

CRASH_LOOP_DEATHS = 5
CRASH_LOOP_SECONDS = 60.0

PAUSE_AFTER_LEAVING_SECONDS = 2.0
"""Before one that left in good order starts again: at a run's end gate and actors leave just before the learner."""

LEFT = (0, EXIT_STOPPED)
"""Exit statuses of a process that ended in good order, having saved what it had to."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after so many seconds."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The learner has reached the end: the run is over."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The run cannot go on. `in_crash_loop` tells a process that keeps dying from one that named its reason."""

    status: int
    in_crash_loop: bool = False


class RestartPolicy:
    """Decides for one process; times are seconds of one monotonic clock."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._back_off = FIRST_BACK_OFF_SECONDS
        self._deaths: deque[float] = deque(maxlen=CRASH_LOOP_DEATHS)

    def after_exit(self, status: int, started_at: float, now: float) -> Restart | Finish | Abort:
        """What follows from an exit status (negative for a signal) at time `now`."""
        if status == 0 and self._role == "learner":
            return Finish()
        if status in LEFT:
            return Restart(PAUSE_AFTER_LEAVING_SECONDS)
        if status in (EXIT_USER_ERROR, EXIT_NON_FINITE):
            return Abort(status)
        self._deaths.append(now)
        if len(self._deaths) == CRASH_LOOP_DEATHS and now - self._deaths[0] <= CRASH_LOOP_SECONDS:
            return Abort(1, in_crash_loop=True)
        if now - started_at >= STEADY_SECONDS:
            self._back_off = FIRST_BACK_OFF_SECONDS
        pause, self._back_off = self._back_off, min(2 * self._back_off, LONGEST_BACK_OFF_SECONDS)
        return Restart(pause)
