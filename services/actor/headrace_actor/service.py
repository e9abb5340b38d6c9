"""The actor's loop: join, then over and over ask for credit, take the weights it names, play a round and send it.

A session that is lost is followed by another. What it has played begins anew: the actor's index at the gate, and the
random numbers that go with it, may by then be another actor's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from headrace_actor.gate_link import GateLink
from headrace_actor.player import Player
from headrace_actor.progress_log import ProgressLog
from headrace_actor.session import Refused, RunFinished, SessionLost
from headrace_actor.waiting import Stopped, Waiting
from headrace_actor.weights_link import WeightsLink
from headrace_proto import environments
from headrace_proto.dense import has_bfloat16
from headrace_proto.environments import VectorEnvironment
from headrace_proto.errors import HeadraceError, UserError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger
from headrace_proto.messages import CreditGrant, Welcome
from headrace_proto.metrics import ActorMetrics
from headrace_proto.settings import ActorSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health
from headrace_proto.weights import Weights

T = TypeVar("T")

POLL_SECONDS = 0.2
ASK_A_REFUSAL_AGAIN_SECONDS = 10.0


class WeightsLate(HeadraceError):  # noqa: N818 an event
    """The weights that a credit asks for have not come."""


class ActorService:
    """One actor process: as many sessions at the gate as it takes until the run is finished."""

    def __init__(
        self, settings: ActorSettings, metrics: ActorMetrics, health: Health, stop: StopSignal, log: Logger
    ) -> None:
        self._gate_address = settings.gate_address
        self._stays_up = settings.stay_up
        self._metrics = metrics
        self._health = health
        self._stop = stop
        self._log = log
        self._waiting = Waiting(metrics, health, stop, log)
        self._progress = ProgressLog(log)
        self._sockets = ServiceSockets("actor", settings, log)
        self._games: tuple[RunSpecification, Future[VectorEnvironment]] | None = None

    def run(self) -> bool:
        """Play until stopped or finished, and return whether it was finished.

        Raises UserError where a person must act first, unless the gate may still change its mind and it stays up.
        """
        try:
            while True:
                try:
                    self._run_session()
                except (RunFinished, Refused) as end:
                    if not self._stays_up:
                        raise
                    self._wait_to_ask_again(str(end))
        except RunFinished as finished:
            self._log.info("run finished", reason=str(finished))
            return True
        except Stopped as stopped:
            self._log.info("stopped", reason=str(stopped))
            return False
        finally:
            self._let_go_of_games()
            self._sockets.close()

    def _wait_to_ask_again(self, reason: str) -> None:
        """Let another gate, or another run, come: to end would only be to be started again at once."""
        due = time.monotonic() + ASK_A_REFUSAL_AGAIN_SECONDS

        def attempt() -> bool | None:
            time.sleep(POLL_SECONDS)
            return True if time.monotonic() >= due else None

        self._waiting.until("gate", attempt, lambda: reason)

    def _run_session(self) -> None:
        with closing(GateLink(self._sockets, self._gate_address, self._log)) as gate:
            welcome = self._join(gate)
            try:
                self._play(gate, welcome)
            except SessionLost as lost:
                self._log.warning("session lost, joining again", reason=str(lost))
            except (Stopped, UserError) as end:
                gate.leave(str(end))
                raise
            except RunFinished:
                raise
            except Exception as error:
                self._log.error("the actor dies of an error", error=repr(error), exc_info=True)
                gate.leave(repr(error))
                raise
            finally:
                self._health.ready = False
                self._metrics.dropped_transitions.inc(gate.session.env_steps - gate.sent_transitions)

    def _play(self, gate: GateLink, welcome: Welcome) -> None:
        with (
            closing(self._build(gate, welcome)) as player,
            closing(self._weights_link(gate, welcome, player)) as weights_link,
        ):
            patience = welcome.lease_seconds
            while not self._stop.is_set:
                grant = self._wait_for_credit(gate, welcome.run.credit_per_round)
                try:
                    weights = self._wait_for_weights(gate, weights_link, grant, patience)
                except WeightsLate:
                    self._give_back(gate, grant)
                    self._wait_for_weights(gate, weights_link, grant)
                    patience *= 2  # or an actor whose weights come slowly would never play
                    continue
                patience = welcome.lease_seconds
                self._play_round(gate, weights_link, player, grant, weights, welcome)
            raise Stopped("told to stop")

    def _build(self, gate: GateLink, welcome: Welcome) -> Player:
        """Start the games, and reset them as the seat asks, while heartbeats go on: it may take longer than a lease."""
        began = time.monotonic()
        gate.session.waiting_for = "games"
        game = welcome.run.game
        vector = self._when_done(gate, self._started_games(welcome.run), game)
        self._games = None
        building = _in_a_thread(partial(Player, welcome, self._metrics, vector))
        try:
            player = self._when_done(gate, building, game)
        except BaseException:
            building.add_done_callback(_close_unwanted)
            raise
        gate.session.waiting_for = ""
        if welcome.run.precision == "bfloat16" and not has_bfloat16():
            self._log.warning("slow: this processor imitates bfloat16; the learner's --precision float32 is faster")
        self._log.info("games started", game=game, seconds=round(time.monotonic() - began, 3))
        return player

    def _started_games(self, run: RunSpecification) -> Future[VectorEnvironment]:
        """Games of the run that nobody has played: those of a session that was lost meanwhile, or new ones.

        ALE lets no other thread run while it makes its games, so that on a busy machine heartbeats stop for longer than
        a lease all the same. An actor that began anew with each session would then never come to play.
        """
        if self._games is not None and (self._games[0] != run or _has_failed(self._games[1])):
            self._let_go_of_games()
        if self._games is None:
            self._games = run, _in_a_thread(partial(environments.make_vector, run))
        return self._games[1]

    def _let_go_of_games(self) -> None:
        if self._games is not None:
            self._games[1].add_done_callback(_close_unwanted)
            self._games = None

    def _when_done(self, gate: GateLink, work: Future[T], game: str) -> T:
        def attempt() -> T | None:
            wait([work], POLL_SECONDS)
            gate.exchange()
            return work.result() if work.done() else None

        return self._waiting.until("games", attempt, lambda: f"{game} starts")

    def _give_back(self, gate: GateLink, grant: CreditGrant) -> None:
        """Let others have the credit that this actor cannot play, so that they do not wait for it for ever."""
        frames = gate.nothing(grant.credit, (grant.generation, grant.weights_version))
        self._waiting.until("gate", partial(gate.try_push, frames, 0), lambda: "no room for rollouts")
        gate.session.finish(grant.credit)
        self._log.warning("credit given back: its weights have not come", credit=grant.credit, count=grant.count)

    def _play_round(
        self,
        gate: GateLink,
        weights_link: WeightsLink,
        player: Player,
        grant: CreditGrant,
        weights: Weights,
        welcome: Welcome,
    ) -> None:
        run = welcome.run
        steps = min(run.rollout_length, grant.count // run.environments_per_actor)
        player.begin_round(weights, steps)
        for step in range(steps):
            if step == steps - 1:
                # Asked for now, the next credit is here when this round is over.
                gate.session.ask(run.credit_per_round, time.monotonic())
            gate.exchange()
            gate.session.env_steps += player.step()
            self._health.beat()
            if self._stop.is_set:
                break
        gate.exchange()
        if (following := gate.session.granted) is not None:
            # Asked for now, its weights come while these rollouts go.
            weights_link.ask((following.generation, following.weights_version))
        rollouts = player.end_round()
        for frames, count in gate.transitions(grant.credit, weights, rollouts):
            self._waiting.until("gate", partial(gate.try_push, frames, count), lambda: "no room for rollouts")
        gate.session.finish(grant.credit)
        self._progress.add_round(rollouts, weights, self._waiting.seconds)

    def _join(self, gate: GateLink) -> Welcome:
        welcome = self._waiting.until(
            "gate", lambda: gate.try_join(POLL_SECONDS), lambda: gate.not_ready_reason or self._gate_address
        )
        gate.open(welcome)
        self._health.run = welcome.run.name
        self._log.info("joined", gate=self._gate_address, actor=welcome.actor, life=welcome.life, game=welcome.run.game)
        return welcome

    def _wait_for_credit(self, gate: GateLink, count: int) -> CreditGrant:
        def attempt() -> CreditGrant | None:
            grant = gate.session.take_grant()
            if grant is None:
                gate.exchange(POLL_SECONDS)
                grant = gate.session.take_grant()
            return grant

        gate.session.ask(count, time.monotonic())
        gate.session.waiting_for = "credit"
        grant = self._waiting.until("credit", attempt, lambda: _reason(gate.session.gate_waits_for))
        gate.session.waiting_for = ""
        return grant

    def _wait_for_weights(
        self, gate: GateLink, weights_link: WeightsLink, grant: CreditGrant, patience_seconds: float = math.inf
    ) -> Weights:
        """Weights as new as a grant asks for; raises WeightsLate if they do not come in time."""
        at_least = (grant.generation, grant.weights_version)
        deadline = time.monotonic() + patience_seconds

        def attempt() -> Weights | None:
            gate.exchange()
            weights = weights_link.wait_for(at_least, POLL_SECONDS)
            if weights is None and time.monotonic() >= deadline:
                raise WeightsLate(f"none of generation and version {at_least} for {patience_seconds:g} s")
            return weights

        gate.session.waiting_for = "weights"
        weights = self._waiting.until("weights", attempt, lambda: f"generation and version {at_least}")
        gate.session.waiting_for = ""
        self._health.ready = True
        return weights

    def _weights_link(self, gate: GateLink, welcome: Welcome, player: Player) -> WeightsLink:
        address = gate.reachable(welcome.weights_address)
        return WeightsLink(self._sockets, address, player.policy.fits, self._log)


def _in_a_thread(work: Callable[[], T]) -> Future[T]:
    executor = ThreadPoolExecutor(1, "games")
    doing = executor.submit(work)
    executor.shutdown(wait=False)
    return doing


def _has_failed(work: Future[Any]) -> bool:
    return work.done() and work.exception() is not None


def _close_unwanted(building: Future[Player] | Future[VectorEnvironment]) -> None:
    if building.exception() is None:
        building.result().close()


def _reason(gate_waits_for: str) -> str:
    return f"the gate waits for {gate_waits_for}" if gate_waits_for else "in line at the gate"
