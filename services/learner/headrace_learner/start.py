"""Builds a learner from its settings and runs it."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Sequence
from contextlib import closing

import torch
from prometheus_client import CollectorRegistry

from headrace_learner import checkpoint_store, checkpoints, freed_memory, run, saving, stops
from headrace_learner.checkpoints import Checkpoint
from headrace_learner.exchange import Exchange, Standing
from headrace_learner.replay_memory import require_memory
from headrace_learner.replay_training import ReplayTraining
from headrace_learner.reporting import Reporter
from headrace_learner.saving import Saver
from headrace_learner.service import End, Service
from headrace_learner.training import Learner, choose_device
from headrace_proto import environments, logs, whole_file
from headrace_proto.arguments import parse
from headrace_proto.combinations import require_effect
from headrace_proto.errors import UserError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger
from headrace_proto.messages import SESSION_BYTES
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health, TelemetryServer

PROGRAM = "headrace-learner"


def main(arguments: Sequence[str]) -> None:
    """Train until done or stopped, which has an exit status of its own; raises UserError, NonFiniteError."""
    stop = StopSignal().install()
    settings = parse(LearnerSettings, arguments, PROGRAM)
    log = logs.configure("learner", settings.log_level)
    checkpoint = find_checkpoint(settings, log)
    if checkpoint is not None:
        settings = parse(LearnerSettings, arguments, PROGRAM, resumed=checkpoint.state.run_settings())
    require_effect(settings)
    freed_memory.keep()
    torch.set_num_threads(settings.learner_threads or 1)
    if settings.deterministic != torch.are_deterministic_algorithms_enabled():  # to set it imports torch's compiler
        torch.use_deterministic_algorithms(settings.deterministic)
    registry = CollectorRegistry()
    metrics, health = LearnerMetrics(registry), Health()
    health.run = run.name_of(settings.run_dir)
    stops.count_earlier(settings.run_dir, metrics, log)
    telemetry = TelemetryServer(registry, health, settings.metrics_host, settings.metrics_port)
    telemetry.write_address(settings.metrics_address_file)
    try:
        is_finished = serve(settings, checkpoint, metrics, health, stop, log)
    finally:
        telemetry.close()
    if not is_finished:
        sys.exit(settings.stopped_exit_status)


def find_checkpoint(settings: LearnerSettings, log: Logger) -> Checkpoint | None:
    """The checkpoint to go on from; raises UserError for a run that would write over another's."""
    if settings.resume is not None:
        return checkpoint_store.resolve(
            settings.run_dir, settings.resume, lambda text: log.warning("checkpoint", warning=text)
        )
    if checkpoint_store.require_listed(settings.run_dir):
        raise UserError(
            f"--run-dir {settings.run_dir}: has checkpoints already; add --resume latest to go on, or choose another "
            "folder"
        )
    return None


def serve(
    settings: LearnerSettings,
    checkpoint: Checkpoint | None,
    metrics: LearnerMetrics,
    health: Health,
    stop: StopSignal,
    log: Logger,
) -> bool:
    """Train in the calling thread until done or stopped; returns whether the run's steps are done."""
    specification = run.specify(settings, run.name_of(settings.run_dir))
    action_names = environments.action_names(environments.find_game(settings.game))
    replay_bytes = require_memory(settings, specification)
    if checkpoint is not None:
        checkpoints.require_same_game(checkpoint.state, specification, action_names)
    if settings.replay != "none":
        gigabytes = round(replay_bytes / 1e9, 2)
        log.info("replay", kind=settings.replay, max_size=settings.replay_max_size, full_gigabytes=gigabytes)
    saver = Saver(settings, specification, action_names, metrics, log)
    while True:
        end = _serve_from(checkpoint, settings, specification, saver, metrics, health, stop, log)
        if end is not End.EPOCH_OVER:
            return end is End.FINISHED
        checkpoint = saver.last


def _serve_from(
    checkpoint: Checkpoint | None,
    settings: LearnerSettings,
    specification: RunSpecification,
    saver: Saver,
    metrics: LearnerMetrics,
    health: Health,
    stop: StopSignal,
    log: Logger,
) -> End:
    """Go on from a checkpoint, None for the beginning; returns why training ended."""
    learner = Learner(settings, specification, choose_device("cpu" if settings.deterministic else settings.device))
    if checkpoint is not None:
        saving.restore(learner, checkpoint)
    _write_settings(settings, checkpoint, log)
    checkpoint_store.remove_partial(settings.run_dir)
    if checkpoint is not None:
        saver.resumed(checkpoint)
    else:
        saver.save_first(learner)
    log.info("started", game=specification.game, env_steps=learner.counters.env_steps, device=str(learner.device))
    identity = secrets.token_bytes(SESSION_BYTES)
    exchange = Exchange(
        identity,
        Standing(env_steps=learner.counters.env_steps),
        specification,
        ServiceSockets("learner", settings, log, metrics.connections),
        settings.weights_bind,
        settings.batches_address,
        metrics,
        log,
    )
    with closing(exchange):
        reporter = Reporter(metrics, settings.run_dir, learner.counters, specification.frame_skip, settings.steps, log)
        with closing(reporter):
            replay = ReplayTraining(learner, specification, metrics.replay) if settings.replay != "none" else None
            service = Service(
                settings, specification, learner, exchange, saver, reporter, metrics, health, stop, log, replay
            )
            with stops.counted(settings.run_dir, log):
                return service.run()


def _write_settings(settings: LearnerSettings, checkpoint: Checkpoint | None, log: Logger) -> None:
    """Put settings.json into the run's folder, whole or not at all.

    A run that goes on does so with a full disk too; one that begins raises UserError.
    """
    content = {"settings": saving.recorded(settings), "versions": checkpoints.versions()}
    path = settings.run_dir / "settings.json"
    try:
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        whole_file.write(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        if checkpoint is not None:
            log.error("settings_not_written", path=str(path), error=str(error), action="training goes on")
            return
        raise UserError(
            f"--run-dir {settings.run_dir}: cannot write {path}: {error.strerror}; choose a folder with room that "
            "you may write to"
        ) from error
