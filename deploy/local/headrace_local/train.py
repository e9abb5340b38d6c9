"""`headrace train`: checks what was asked for, makes the run's folder and runs its processes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from headrace_learner import checkpoint_store
from headrace_local import cores, display, launch, resume, run_folder, targets
from headrace_local.interrupts import Interrupts
from headrace_local.processes import ProcessSpecification
from headrace_local.scrape import Picture, Scraper, Snapshot
from headrace_local.supervisor import Outcome, Supervisor
from headrace_proto import environments
from headrace_proto.arguments import parse
from headrace_proto.capacity import require_capacity
from headrace_proto.combinations import require_combination, require_effect
from headrace_proto.errors import UserError
from headrace_proto.settings import TrainSettings

PROGRAM = "headrace train"


def main(arguments: Sequence[str]) -> int:
    """Train as the arguments say and return the exit status; raises UserError before anything is started."""
    settings, resumption = read_settings(arguments)
    game = environments.find_game(settings.game)
    environments.spaces(game)
    check_capacity(settings)
    require_combination(settings)
    require_effect(settings)
    check_memory(settings)
    run_dir = resumption.run_dir if resumption is not None else None
    if run_dir is None:
        name = settings.name or run_folder.default_name(settings, game.name, datetime.now())
        run_dir = run_folder.create(settings.runs, name)
    checkpoint = run_folder.adopt(run_dir, resumption.checkpoint) if resumption is not None else None
    with run_folder.locked(run_dir):
        return _train(settings, run_dir.absolute(), checkpoint, settings.frame_skip if game.is_atari else 1)


def read_settings(arguments: Sequence[str]) -> tuple[TrainSettings, resume.Resumption | None]:
    """Flags over environment over the preset asked for over the resumed run's settings over defaults."""
    settings = parse(TrainSettings, arguments, PROGRAM)
    if settings.resume is None:
        return settings, None
    resumption = resume.find(settings)
    if resumption is None:
        return settings, None
    settings = parse(TrainSettings, arguments, PROGRAM, resumption.settings(settings))
    done = resumption.checkpoint.state.env_steps
    if done >= settings.steps:
        raise UserError(
            f"--steps {settings.steps}: the run has {done} behind it already; give a larger number to go on"
        )
    return settings, resumption


def check_capacity(settings: TrainSettings) -> None:
    """Raise UserError for a capacity with which learner and actors could wait for each other for ever."""
    require_capacity(
        settings.capacity, settings.batch_size, settings.environments_per_actor, settings.rollout_transitions
    )


def check_memory(settings: TrainSettings) -> None:
    """Raise UserError for a replay that has no room in this machine, which is the learner's."""
    if settings.replay == "none":
        return
    # Both import torch, which takes seconds.
    from headrace_learner import run
    from headrace_learner.replay_memory import require_memory

    require_memory(settings, run.specify(settings))


def fit_to_cores(settings: TrainSettings, usable_cores: int) -> tuple[TrainSettings, int]:
    """The settings with the learner's threads, and the number of actors, where nobody chose them."""
    if settings.deterministic:  # allows no other
        return settings.model_copy(update={"learner_threads": 1}), 1
    actors = settings.actors or cores.default_actors(usable_cores)
    threads = settings.learner_threads or cores.default_learner_threads(usable_cores, actors)
    return settings.model_copy(update={"learner_threads": threads}), actors


def _train(settings: TrainSettings, run_dir: Path, checkpoint: Path | None, frame_skip: int) -> int:
    interrupts = Interrupts().install()
    settings, actors = fit_to_cores(settings, cores.usable_cores())
    run_folder.record(run_dir, settings, actors)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(launch.short_temporary_folder()))
        processes = launch.specifications(settings, actors, run_dir, folder, checkpoint)
        by_name: dict[str, ProcessSpecification] = {process.name: process for process in processes}
        scraper = Scraper(
            Picture(settings.steps, frame_skip),
            learner=partial(targets.address, by_name["learner"]),
            gate=partial(targets.address, by_name["gate"]),
        )
        stack.callback(scraper.close)
        shown = display.for_output()
        stack.callback(shown.close)
        targets_file = targets.TargetsFile(run_dir / "targets.json", partial(shown.event, "warning"))
        stack.callback(targets_file.update, [])

        def each_turn() -> None:
            targets_file.update(processes)
            shown.progress(scraper.latest)

        shown.event("run", f"run folder {run_dir}", run_dir=str(run_dir), game=settings.game, actors=actors)
        if settings.decay_steps_of_learning_rate < settings.steps:
            end = settings.decay_steps_of_learning_rate
            message = f"the learning rate is 0 from step {end:,} on; --learning-rate-decay-steps changes that"
            shown.event("warning", message, learning_rate_decay_steps=end)
        outcome = Supervisor(processes, shown, interrupts, each_turn).run()
        _announce_end(shown, outcome, scraper.latest, settings, run_dir)
    if outcome.error:
        with suppress(OSError):
            print(f"error: {outcome.error}", file=sys.stderr)
    return outcome.status


def _announce_end(
    shown: display.Display, outcome: Outcome, last: Snapshot, settings: TrainSettings, run_dir: Path
) -> None:
    saved = checkpoint_store.folders(run_dir)
    env_steps = max([last.env_steps, *saved])
    shown.progress(replace(last, env_steps=env_steps, waiting_for=""))
    message = f"{outcome.kind} at {env_steps:,} of {last.steps:,} steps; the run is in {run_dir}"
    if saved:
        command = sys.argv[0] if Path(sys.argv[0]).name == "headrace" else "headrace"
        run = f"--name {run_dir.name}" + ("" if settings.runs == Path("runs") else f" --runs {settings.runs}")
        message += f"\n  scores: {command} evaluate {run}\n  watch:  {command} play {run} --record game.mp4"
    shown.event(
        outcome.kind, message, run_dir=str(run_dir), env_steps=env_steps, steps=last.steps, status=outcome.status
    )
