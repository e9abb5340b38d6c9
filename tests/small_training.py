"""Training without services: one player and the learner take turns in this process."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from made_up import a_batch
from prometheus_client import CollectorRegistry

from headrace_actor.player import Player
from headrace_learner import run
from headrace_learner.training import Learner, choose_device
from headrace_proto.messages import Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.run_settings import RunSettings
from headrace_proto.weights import Weights


def train(settings: RunSettings, updates: int, until_return: float = np.inf) -> Learner:
    """One round of an actor an update; stops early once the mean return of the last 100 games is high enough."""
    specification = run.specify(settings)
    learner = Learner(settings, specification, choose_device("cpu"))
    welcome = Welcome(
        actor=0, life=0, lease_seconds=10.0, transitions_address="", weights_address="", run=specification
    )
    with closing(Player(welcome, ActorMetrics(CollectorRegistry()))) as player:
        for version in range(updates):
            counters = learner.counters
            if len(counters.recent_returns) == 100 and (counters.return_mean or 0.0) >= until_return:
                break
            player.begin_round(
                Weights(1, version, counters.env_steps, learner.online.state_dict()), settings.rollout_transitions
            )
            for _ in range(settings.rollout_transitions):
                player.step()
            learner.train(a_batch(specification, player.end_round(), version))
    return learner
