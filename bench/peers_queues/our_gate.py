"""Our gate: producers with the link to the gate that actors have, the real gate's process, a learner's end.

Opaque messages end at a learner that only counts them, as those of the raw forwarder do. Else producers encode rollouts
as actors do, and the consumer is the learner's exchange, which checks, decodes and stacks them to batches.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from gate_process import GateProcess
from numpy.typing import NDArray
from peers_queues import contest, experience
from peers_queues.contest import Contest, Producers
from peers_queues.experience import BATCH_SIZE, ROLLOUT_LENGTH, Experience
from prometheus_client import CollectorRegistry
from simulated_learner import SimulatedLearner

from headrace_actor.gate_link import GateLink
from headrace_learner.exchange import Exchange, Standing
from headrace_local.launch import Addresses, short_temporary_folder
from headrace_proto import logs
from headrace_proto.messages import SESSION_BYTES, CreditGrant
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.rollouts import Rollout
from headrace_proto.settings import ActorSettings, LearnerSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights

ENVIRONMENTS = 8
"""An actor asks credit for one rollout from each at once."""


class Opaque:
    """A message that stands for some transitions, as the link takes it: what it holds was made beforehand."""

    def __init__(self, payload: bytes, count: int) -> None:
        self._payload = payload
        self._count = count

    def __len__(self) -> int:
        """Number of transitions."""
        return self._count

    def encode(self) -> bytes:
        """The payload."""
        return self._payload


def a_run(payload: contest.Payload) -> RunSpecification:
    """A run whose rollouts are those of the contest."""
    return RunSpecification(
        name="",
        game="ALE/Pong-v5" if payload == "atari" else "CartPole-v1",
        seed=1,
        environments_per_actor=ENVIRONMENTS,
        rollout_length=ROLLOUT_LENGTH,
        n_step=ROLLOUT_LENGTH,
        batch_size=BATCH_SIZE,
        network="dqn-2013" if payload == "atari" else "mlp",
        layer_norm=True,
        precision="float32",
        head="values",
        lstm=False,
        frame_shape=list(experience.FRAME_SHAPES[payload]),
        frame_dtype="|u1" if payload == "atari" else "<f4",
        frame_stack=experience.FRAME_STACKS[payload],
        actions=6 if payload == "atari" else 2,
        frame_skip=4,
        noop_max=30,
        fire_on_reset=False,
        life_loss_terminal=False,
        sticky_action_probability=0.0,
        max_episode_frames=108_000,
        reward_clip=0.0,
        exploration="same",
        final_epsilon=0.01,
        middle_epsilon=0.0,
        epsilon_decay_steps=1,
        epsilon_tail_steps=0,
        deterministic=False,
    )


def produce(asked: Contest, control: str) -> None:
    """Join, then ask for credit and send rounds against it, for ever; the next credit is asked for meanwhile."""
    service_sockets = ServiceSockets("actor", ActorSettings(), logs.configure("producer", "error"))
    link = GateLink(service_sockets, control, logs.configure("producer", "error"))
    while (welcome := link.try_join(contest.LOOK_SECONDS)) is None:
        pass
    link.open(welcome)
    count = welcome.run.credit_per_round
    rounds = _rounds(asked, count)
    link.session.ask(count, time.monotonic())
    while True:
        grant = _next_grant(link)
        link.session.ask(count, time.monotonic())
        link.exchange()
        weights = Weights(grant.generation, grant.weights_version, 0, {})
        for frames, transitions in link.transitions(grant.credit, weights, next(rounds)):
            while link.try_push(frames, transitions) is None:
                pass
        link.session.finish(grant.credit)


def _next_grant(link: GateLink) -> CreditGrant:
    while (grant := link.session.take_grant()) is None:
        link.exchange(contest.LOOK_SECONDS)
    return grant


def _rounds(asked: Contest, count: int) -> Iterator[list[Rollout]]:
    """What is sent against one credit after another."""
    known = Experience.read(asked.frames, asked.payload)
    if asked.is_opaque:
        transitions = experience.transitions_in(asked.messages)
        payloads = itertools.cycle(experience.opaque(known, asked.messages))
        while True:
            messages = [Opaque(next(payloads), transitions) for _ in range(count // transitions)]
            yield cast(list[Rollout], messages)
    rollouts = known.forever()
    while True:
        yield [_rollout(next(rollouts), environment) for environment in range(count // ROLLOUT_LENGTH)]


def _rollout(frames: NDArray[Any], environment: int) -> Rollout:
    return Rollout(
        frames=frames,
        actions=np.arange(ROLLOUT_LENGTH, dtype=np.int32) % 2,
        rewards=np.arange(ROLLOUT_LENGTH, dtype=np.float32),
        behaviour_probabilities=np.full(ROLLOUT_LENGTH, 0.5, np.float32),
        behaviour_values=np.full(ROLLOUT_LENGTH, 1.5, np.float32),
        recurrent_state=None,
        terminated=False,
        truncated=False,
        n_step=ROLLOUT_LENGTH,
        environment=environment,
        epsilon=0.01,
        episode_return=None,
        episode_length=None,
    )


class LearnersExchange:
    """The learner's sockets with nothing behind them: every batch counts as trained once it is stacked."""

    def __init__(self, run: RunSpecification, addresses: Addresses) -> None:
        log = logs.configure("consumer", "error")
        self._standing = Standing()
        self._exchange = Exchange(
            learner=secrets.token_bytes(SESSION_BYTES),
            standing=self._standing,
            run=run,
            service_sockets=ServiceSockets("learner", LearnerSettings(), log),
            weights_bind=addresses.weights,
            batches_address=addresses.batches,
            metrics=LearnerMetrics(CollectorRegistry()),
            log=log,
        )

    def receive_forever(self) -> Iterator[tuple[int, int]]:
        """Transitions and bytes of their shared frames, as they come."""
        while True:
            taken = self._exchange.take(contest.LOOK_SECONDS)
            if taken is None:
                yield 0, 0
                continue
            if taken.rejected:
                raise RuntimeError(f"the learner refused {taken.rejected}")
            header, standing = taken.header, self._standing
            self._standing = Standing(
                gate=header.gate,
                generation=header.generation,
                version=standing.version + (1 if header.rollouts else 0),
                published_version=standing.version,
                env_steps=standing.trained,
                trained_batch=max(standing.trained_batch, header.batch),
                trained=standing.trained + len(taken),
                waiting_for="" if self._exchange.has_batch else "batch",
            )
            self._exchange.report(self._standing)
            yield len(taken), _shared_bytes(taken.states.shape, taken.lengths) * taken.states.element_size()

    def close(self) -> None:
        """Free the sockets."""
        self._exchange.close()


def _shared_bytes(shape: Sequence[int], lengths: NDArray[np.int64]) -> int:
    """How many numbers the shared frames of rollouts have, whose states are of a shape [N, S, *frame_shape]."""
    stack, *frame = shape[1:]
    return int((lengths + stack).sum()) * int(np.prod(frame))


def measure(asked: Contest, folder: Path) -> contest.Result:
    """Measure it."""
    run = a_run(asked.payload)
    with GateProcess(folder, asked.capacity) as gate:
        addresses = gate.addresses
        with Producers(asked.producers, produce, asked, addresses.control) as producers:
            learner: SimulatedLearner | LearnersExchange
            if asked.is_opaque:
                learner = SimulatedLearner(run, addresses.weights, addresses.batches)
                received = learner.receive_forever(contest.LOOK_SECONDS)
            else:
                learner = LearnersExchange(run, addresses)
                received = learner.receive_forever()
            try:
                result = contest.measure(asked, producers, received, gate.pid)
                gate.require_alive()
                gate.require_nothing_lost()
                return result
            finally:
                learner.close()


def main() -> None:
    """Measure it."""
    with short_temporary_folder() as folder:
        contest.report(measure(Contest.read(), Path(folder)))


if __name__ == "__main__":
    main()
