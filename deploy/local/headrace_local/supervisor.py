"""Keeps the processes of a run alive until the learner has reached the end, a person stops it, or it cannot go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace_local.display import Display
from headrace_local.interrupts import Interrupts
from headrace_local.processes import ChildProcess, ProcessSpecification, describe_status
from headrace_local.restarts import LEFT, Abort, Finish, Restart, RestartPolicy

POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
"""How long processes have to end after SIGTERM, the learner's final checkpoint included."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; `error` is set unless it ended well."""

    kind: Literal["finished", "stopped", "failed"]
    status: int = 0
    error: str = ""


class _Place:
    """One process's place in the run: empty, and to be filled at `start_at`, or taken by a child."""

    def __init__(self, specification: ProcessSpecification) -> None:
        self.specification = specification
        self.policy = RestartPolicy(specification.role)
        self.child: ChildProcess | None = None
        self.last_status: int | None = None
        self.starts = 0
        self.start_at = 0.0

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.status is None

    @property
    def is_unsaved(self) -> bool:
        """Whether it had begun and ended otherwise than in good order, now or, where it was to start again, before."""
        last = self.last_status if self.child is None else self.child.status
        return self.starts > 0 and last not in LEFT

    def start(self) -> ChildProcess:
        self.child = ChildProcess(self.specification, is_restart=self.starts > 0)
        self.starts += 1
        return self.child


class Supervisor:
    """Starts processes and restarts those that die; `each_turn` is called about ten times a second."""

    def __init__(
        self,
        specifications: Sequence[ProcessSpecification],
        display: Display,
        interrupts: Interrupts,
        each_turn: Callable[[], None] = lambda: None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._places = [_Place(specification) for specification in specifications]
        self._display = display
        self._interrupts = interrupts
        self._each_turn = each_turn
        self._stop_seconds = stop_seconds

    def run(self) -> Outcome:
        """Run until the end; no process is left when it returns or raises, and each had time to end by itself."""
        try:
            return self._stop(self._supervise())
        except BaseException:
            self._end_all(lambda: None)  # what is called each turn may be what failed
            raise
        finally:
            for place in self._places:
                if place.child is not None:
                    place.child.kill()

    def _supervise(self) -> Outcome:
        while not self._interrupts.count:
            for place in self._places:
                outcome = self._tend(place)
                if outcome is not None:
                    return outcome
            self._each_turn()
            time.sleep(POLL_SECONDS)
        self._display.event("stopping", "stopping: the learner saves a last checkpoint (once more to stop at once)")
        return Outcome("stopped")

    def _tend(self, place: _Place) -> Outcome | None:
        if place.child is None:
            if time.monotonic() >= place.start_at:
                self._start(place)
            return None
        status = place.child.status
        if status is None:
            return None
        child, place.child, place.last_status = place.child, None, status
        decision = place.policy.after_exit(status, child.started_at, time.monotonic())
        if isinstance(decision, Restart):
            self._announce_restart(place, child, status, decision)
            return None
        return _outcome(child, status, decision)

    def _start(self, place: _Place) -> None:
        kind = "restarted" if place.starts else "started"
        child = place.start()
        name = place.specification.name
        self._display.event(kind, f"{name} {kind}", process=name, pid=child.pid)

    def _announce_restart(self, place: _Place, child: ChildProcess, status: int, decision: Restart) -> None:
        place.start_at = time.monotonic() + decision.after_seconds
        name = place.specification.name
        self._display.event(
            "left" if status in LEFT else "died",
            f"{name} ended ({describe_status(status)}); it starts again in {decision.after_seconds:g} s",
            process=name,
            status=status,
            restart_seconds=decision.after_seconds,
            log=[] if status in LEFT else child.last_lines(),
        )

    def _stop(self, outcome: Outcome) -> Outcome:
        self._end_all(self._each_turn)
        killed = [place.specification.name for place in self._places if place.is_running]
        unsaved = [place for place in self._places if place.specification.role == "learner" and place.is_unsaved]
        if outcome.kind == "stopped" and unsaved:
            return Outcome("failed", 1, _without_saving(unsaved[0]))
        if killed:
            self._display.event("killed", f"{', '.join(killed)} did not end in time and are killed", processes=killed)
        return outcome

    def _end_all(self, each_turn: Callable[[], None]) -> None:
        """The learner first, for its final checkpoint needs nobody; then the actors, and last the gate."""
        deadline = time.monotonic() + self._stop_seconds
        for role in ("learner", "actor", "gate"):
            children = [place.child for place in self._places if place.specification.role == role and place.child]
            for child in children:
                child.terminate()
            while any(child.status is None for child in children):
                if self._interrupts.count > 1 or time.monotonic() >= deadline:
                    break
                each_turn()
                time.sleep(POLL_SECONDS)


def _without_saving(place: _Place) -> str:
    name = place.specification.name
    if place.child is None:
        return f"{name} had died and was to start again, so nothing was saved now; its last checkpoint stands"
    return f"{name} was stopped before it could save; its last checkpoint stands"


def _outcome(child: ChildProcess, status: int, decision: Finish | Abort) -> Outcome:
    if isinstance(decision, Finish):
        return Outcome("finished")
    name, log = child.specification.name, child.specification.log
    if not decision.in_crash_loop:
        return Outcome("failed", decision.status, f"{name}: {child.error_line()}")
    lines = "\n".join(f"  | {line}" for line in child.last_lines())
    return Outcome(
        "failed", decision.status, f"{name} keeps dying ({describe_status(status)}); the end of {log}:\n{lines}"
    )
