"""Real play, recorded: games under the actor's own player, as the parts of a run are fed with it."""

from __future__ import annotations

from contextlib import closing

from prometheus_client import CollectorRegistry

from headrace_actor.player import Player
from headrace_learner import batches, run
from headrace_learner.batches import Batch
from headrace_learner.training import Learner
from headrace_proto import networks
from headrace_proto.arguments import parse
from headrace_proto.messages import SESSION_BYTES, BatchHeader, RolloutHeader, Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.settings import TrainSettings
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights

NOBODY = bytes(SESSION_BYTES)


def settings_of(arguments: list[str]) -> TrainSettings:
    """The settings that `headrace train` has with these arguments."""
    return parse(TrainSettings, arguments, "headrace train")


def specify(settings: TrainSettings) -> RunSpecification:
    """The run of these settings."""
    return run.specify(settings, "bench")


def welcome(specification: RunSpecification) -> Welcome:
    """What a gate tells the first actor of a run."""
    return Welcome(actor=0, life=0, lease_seconds=10.0, transitions_address="", weights_address="", run=specification)


def weights_of(learner: Learner, version: int = 0) -> Weights:
    """What the learner publishes, made as its service makes it."""
    return Weights(1, version, learner.counters.env_steps, networks.published(learner.behaviour))


def batches_of(specification: RunSpecification, learner: Learner, count: int) -> list[Batch]:
    """So many batches of different games, each of whole rollouts that one actor played, through the wire format."""
    made: list[Batch] = []
    played: list[Rollout] = []
    with closing(Player(welcome(specification), ActorMetrics(CollectorRegistry()))) as player:
        while len(made) < count:
            player.begin_round(weights_of(learner), specification.rollout_length)
            for _ in range(specification.rollout_length):
                player.step()
            played += player.end_round()
            if sum(map(len, played)) >= specification.batch_size:
                made.append(_batch(specification, played))
                played = []
    return made


def _batch(specification: RunSpecification, played: list[Rollout]) -> Batch:
    header = BatchHeader(
        gate=NOBODY,
        learner=NOBODY,
        generation=1,
        batch=1,
        rollouts=len(played),
        count=sum(map(len, played)),
        version=0,
        capacity=256,
        straggler_updates=32,
    )
    frames = [frame for rollout in played for frame in (_header(len(rollout)).encode(), rollout.encode())]
    return batches.assemble(header, frames, specification)


def _header(count: int) -> RolloutHeader:
    return RolloutHeader(
        session=NOBODY, actor=0, credit=1, part=0, final=True, count=count, generation=1, weights_version=0
    )
