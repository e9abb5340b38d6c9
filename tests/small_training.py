"""Training without services: one player and the learner take turns in this process."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from made_up import a_batch
from prometheus_client import CollectorRegistry

from headrace_actor.player import Player
from headrace_learner import run
from headrace_learner.replay_training import ReplayTraining
from headrace_learner.training import Learner, choose_device
from headrace_proto import networks
from headrace_proto.messages import Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.replay_metrics import ReplayMetrics
from headrace_proto.run_settings import RunSettings
from headrace_proto.weights import Weights


def train(settings: RunSettings, rounds: int, until_return: float = np.inf) -> Learner:
    """One round of an actor a batch; stops early once the mean return of the last 100 games is high enough.

    A batch is trained once, or where the settings have a replay, makes the updates that it brings there.
    """
    specification = run.specify(settings)
    learner = Learner(settings, specification, choose_device("cpu"))
    has_replay = settings.replay != "none"
    replay = ReplayTraining(learner, specification, ReplayMetrics(CollectorRegistry())) if has_replay else None
    welcome = Welcome(
        actor=0, life=0, lease_seconds=10.0, transitions_address="", weights_address="", run=specification
    )
    with closing(Player(welcome, ActorMetrics(CollectorRegistry()))) as player:
        for version in range(rounds):
            counters = learner.counters
            if len(counters.recent_returns) == 100 and (counters.return_mean or 0.0) >= until_return:
                break
            weights = Weights(1, version, counters.env_steps, networks.published(learner.behaviour))
            player.begin_round(weights, settings.rollout_transitions)
            for _ in range(settings.rollout_transitions):
                player.step()
            batch = a_batch(specification, player.end_round(), version)
            if replay is None:
                learner.train(batch)
            else:
                replay.train(batch, version)
    return learner
