"""The gate's sockets around the pure `Gate`: receive, let it decide, write the journal, send."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import zmq
from prometheus_client import CollectorRegistry

from headrace_gate import epochs
from headrace_gate.gate import Addresses, Gate, Limits
from headrace_gate.gauges import Gauges
from headrace_gate.journal import DamagedJournalError, Journal
from headrace_gate.learner_account import SentBatch
from headrace_proto import messages
from headrace_proto.errors import HeadraceError, UserError, WireError
from headrace_proto.lifecycle import StopSignal
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import MAX_CONTROL_BYTES, BatchHeader, Message, Progress, Session
from headrace_proto.rollouts import max_payload_bytes
from headrace_proto.settings import GateSettings
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification
from headrace_proto.telemetry import Health

POLL_MILLISECONDS = 100
BURST = 256
"""Messages taken from one socket before the others have their turn."""

MOST_BURSTS = 8
"""Looks at all sockets in one turn, while there is something: what a turn costs is then shared by more messages."""

OBSERVED_SECONDS = 0.05
"""A busy gate brings metrics, and the journal where nothing depends on it, up to date only so often."""


class GateService:
    """One gate: PULL for rollouts, ROUTER for actors, PUSH for batches, SUB for the learner's progress."""

    def __init__(self, settings: GateSettings, registry: CollectorRegistry, health: Health, log: Logger) -> None:
        self._log = log
        self._limit = RateLimit()
        self._health = health
        self._gauges = Gauges(registry, settings.capacity)
        self._most_payload_bytes: int | None = None
        self._sockets = ServiceSockets("gate", settings, log, self._gauges.connections)
        try:
            self._open_sockets(settings)
        except HeadraceError:
            self._sockets.close(linger=0)
            raise
        self.gate = Gate(
            os.urandom(messages.SESSION_BYTES),
            Limits(settings.capacity, settings.straggler_updates, settings.lease_seconds),
            Addresses(self.transitions_address, settings.learner_address),
        )
        self._dismisses_actors = settings.dismiss_actors
        self._journal = None if settings.journal is None else Journal(settings.journal)
        self._restore()
        self._gauges.update(self.gate, turn_seconds=0.0)
        self._last_turn = self._observed_at = time.monotonic()
        health.ready = True

    def run(self, stop: StopSignal) -> None:
        """Turn until stopped."""
        while not stop.is_set:
            self.turn()
        account = self.gate.ledger
        self._log.info("stopped", alive=account.alive, trained=account.trained_total, lost=dict(account.lost))
        self._sockets.close()
        self._observe(time.monotonic())
        if self._journal is not None:
            self._keep_journal()
            self._journal.close()

    def turn(self) -> None:
        """Wait for messages at most a moment, and act on them."""
        self._sockets.reconnect_refused()
        is_idle = not self._receive()
        now = time.monotonic()
        self._forgive_own_pause(now)
        for seat in self.gate.tick(now):
            self._log.warning("actor gone", actor=seat.actor, silent_seconds=round(now - seat.last_heard, 1))
        if self._dismisses_actors and self.gate.learner.is_finished:
            self.gate.dismiss_all(messages.Leave(code="finished", reason="the run is finished"))
        is_observed = is_idle or now - self._observed_at >= OBSERVED_SECONDS
        # What a gate took in and was killed before it wrote it down is as if it had been lost on its way.
        if (is_observed or not self.gate.outbox.is_empty) and not self._keep_journal():
            self.gate.outbox.withdraw()
        self._send()
        self._health.beat(self.gate.waiting_for)
        self._tell_of_disturbance()
        if is_observed:
            self._observe(now)
        self._last_turn = now

    def _open_sockets(self, settings: GateSettings) -> None:
        self._transitions = self._sockets.make(zmq.PULL)
        self._control = self._sockets.make(zmq.ROUTER)
        self._control.router_mandatory = 1
        self._control.router_handover = 1
        self._batches = self._sockets.make(zmq.PUSH)
        self._batches.immediate = 1
        self._progress = self._sockets.make(zmq.SUB)
        self._progress.subscribe(messages.PROGRESS_TOPIC)
        bind = self._sockets.bind
        self.transitions_address = bind(
            self._transitions, settings.transitions_bind, "transitions-bind", "transitions", clients=["actor"]
        )
        self.control_address = bind(self._control, settings.control_bind, "control-bind", "control", clients=["actor"])
        self.batches_address = bind(
            self._batches, settings.batches_bind, "batches-bind", "batches", clients=["learner"]
        )
        self._sockets.connect(self._progress, settings.learner_address, "learner-address", server="learner")
        self._receivers = [
            (self._progress, self._receive_progress),
            (self._transitions, self._receive_rollout),
            (self._control, self._receive_control),
        ]
        self._poller = zmq.Poller()
        for socket, _ in self._receivers:
            self._poller.register(socket, zmq.POLLIN)

    def _restore(self) -> None:
        if self._journal is None:
            self._log.warning("no journal: a restart of the gate begins a new account; set --journal to keep it")
            return
        try:
            state = self._journal.read()
            if state is not None:
                self.gate.restore(state, time.monotonic())
                self._log.info("account restored", alive=self.gate.ledger.alive, lost=dict(self.gate.ledger.lost))
        except (DamagedJournalError, LookupError, TypeError, ValueError) as error:
            self._log.warning("damaged journal: a new account begins", path=str(self._journal.path), error=repr(error))
        if self.gate.run is not None:
            self._expect(self.gate.run)
        try:
            self._journal.begin(self.gate.state())
        except OSError as error:
            raise UserError(
                f"--journal {self._journal.path}: {error.strerror}; name a file that can be written"
            ) from error

    def _keep_journal(self) -> bool:
        """Write the account; without it nothing is promised, so that a successor knows of every promise."""
        changes = self.gate.changes()  # asked for without a journal too, for they are remembered until then
        if self._journal is None:
            return True
        try:
            self._journal.write(changes)
        except OSError as error:
            if self._limit.allows("journal"):
                self._log.error("cannot write the journal: no credit is granted", error=error.strerror)
            return False
        return True

    def _receive(self) -> bool:
        """Take in what has come, after waiting for it; returns whether there was anything."""
        ready = dict(self._poller.poll(POLL_MILLISECONDS))
        was_ready = bool(ready)
        for _ in range(MOST_BURSTS):
            for socket, receive in self._receivers:
                if socket in ready:
                    self._receive_burst(socket, receive)
            ready = dict(self._poller.poll(0)) if ready else {}
            if not ready:
                break
        return was_ready

    def _receive_burst(self, socket: zmq.Socket[bytes], receive: Callable[[list[zmq.Frame]], None]) -> None:
        for _ in range(BURST):
            try:
                receive(self._sockets.connections.receive(socket))
            except zmq.Again:
                return
            except WireError as error:
                self._gauges.count_refusal(error.reason)
                if self._limit.allows(error.reason):
                    self._log.warning("message refused", reason=error.reason, detail=error.detail)

    def _receive_rollout(self, frames: list[zmq.Frame]) -> None:
        self._gauges.received(sum(map(len, frames)))
        if len(frames) != 2:
            raise WireError("frame_count", f"TRANSITIONS has 2 frames, not {len(frames)}")
        header = self._control_bytes(self._transitions, frames[0])
        # While no run is known no payload is known to be too long: its sender may play on from a gate that is gone.
        if self._most_payload_bytes is not None and len(frames[1]) > self._most_payload_bytes:
            self._sockets.connections.cut(self._transitions, frames[1], "oversized")
        self.gate.on_rollout(header, frames[1], time.monotonic())

    def _receive_control(self, frames: list[zmq.Frame]) -> None:
        if len(frames) != 2:
            raise WireError("frame_count", f"a control message has one frame, not {len(frames) - 1}")
        said = self._control_bytes(self._control, frames[1])
        self.gate.on_actor_message(frames[0].bytes, said, time.monotonic())

    def _control_bytes(self, socket: zmq.Socket[bytes], frame: zmq.Frame) -> bytes:
        if len(frame) > MAX_CONTROL_BYTES:  # before it is copied
            self._sockets.connections.cut(socket, frame, "oversized")
            raise WireError("oversized", f"{len(frame)} bytes, at most {MAX_CONTROL_BYTES} are allowed")
        return frame.bytes

    def _receive_progress(self, frames: list[zmq.Frame]) -> None:
        if len(frames) != 2:
            raise WireError("frame_count", f"PROGRESS has 2 frames, not {len(frames)}")
        progress = messages.decode(Progress, self._control_bytes(self._progress, frames[1]))
        self._expect(progress.run)
        if self.gate.on_progress(progress, time.monotonic()):
            generation = self.gate.learner.generation
            self._gauges.met_learner(generation)
            self._log.info("learner met", generation=generation, env_steps=progress.env_steps, game=progress.run.game)

    def _expect(self, run: RunSpecification) -> None:
        # Credits let so many rollouts be under way, those that a game's end cut short aside.
        rollouts = -(-self.gate.limits.capacity // run.rollout_length)
        self._sockets.connections.expected_bytes = rollouts * max_payload_bytes(run)
        # Of every run that there was: what is late for the last one is no offence.
        self._most_payload_bytes = max(self._most_payload_bytes or 0, max_payload_bytes(run))

    def _forgive_own_pause(self, now: float) -> None:
        # A gate that was itself stopped has heard nobody, which is not the actors' fault.
        pause = now - self._last_turn
        if pause > self.gate.limits.lease_seconds / 2:
            self.gate.forgive(pause)

    def _send(self) -> None:
        outbox = self.gate.outbox
        for session, message in outbox.to_actors:
            self._send_to_actor(session, message)
        for header, batch in outbox.to_learner:
            self._send_to_learner(header, batch)
        outbox.clear()

    def _send_to_actor(self, session: Session, message: Message) -> None:
        try:
            self._control.send_multipart([session, message.encode()], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # Every message to an actor is an answer that it asks for again if it does not come.
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise

    def _send_to_learner(self, header: BatchHeader, batch: SentBatch | None) -> None:
        frames: list[bytes | zmq.Frame] = [header.encode()]
        for rollout in batch.rollouts if batch else ():
            frames += [rollout.header, rollout.payload]
        try:
            self._batches.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            if batch is not None:
                batch.sent = False
            return
        self._gauges.sent(sum(map(len, frames)))
        if batch is not None:
            self._gauges.delivered(batch.count)

    def _tell_of_disturbance(self) -> None:
        gate = self.gate
        disturbance = epochs.disturbance(gate.learner, gate.ledger, gate.roster)
        if disturbance and self._limit.allows("disturbance"):
            self._log.warning("the learner is to play from its checkpoint again", reason=disturbance)

    def _observe(self, now: float) -> None:
        gate = self.gate
        self._health.run = "" if gate.run is None else gate.run.name
        self._gauges.update(gate, now - self._observed_at)
        self._observed_at = now
        if gate.waiting_for and self._limit.allows("waiting"):
            self._log.info("waiting", waiting_for=gate.waiting_for, alive=gate.ledger.alive)
        if self._gauges.capacity_limited_for_seconds > 1 and self._limit.allows("capacity"):
            self._log.warning(
                "capacity is the limit: the learner starves while actors wait for credit",
                capacity=gate.limits.capacity,
                would_lift_it=gate.ledger.alive + gate.roster.waiting_transitions,
            )
