"""The link to the learner's weights: they are asked for when a credit calls for newer ones than are here.

A subscription is the question: to a topic of this link alone, which the learner answers once, with its newest weights.
So an actor that waits for credit is sent nothing, however often the learner publishes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import zmq

from headrace_proto import weights
from headrace_proto.errors import WireError
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import SESSION_BYTES, WEIGHTS_TOPIC
from headrace_proto.sockets import ServiceSockets
from headrace_proto.weights import Weights

ASK_AGAIN_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 16.0
MOST_QUEUED = 2
"""Answers kept for an actor that does not look: weights are large, and only the newest counts."""


class WeightsLink:
    """SUB to WEIGHTS."""

    def __init__(
        self, service_sockets: ServiceSockets, address: str, fits: Callable[[Weights], bool], log: Logger
    ) -> None:
        """Connect; weights that `fits` refuses are ignored."""
        self._newest: Weights | None = None
        self._fits = fits
        self._log = log
        self._limit = RateLimit()
        self._topic = WEIGHTS_TOPIC + secrets.token_bytes(SESSION_BYTES)
        self._is_asking = False
        self._ask_due, self._ask_again_seconds = 0.0, ASK_AGAIN_SECONDS
        self._socket = service_sockets.make(zmq.SUB)
        self._socket.rcvhwm = MOST_QUEUED
        service_sockets.connect(self._socket, address, "weights-address", server="learner")

    def wait_for(self, at_least: tuple[int, int], timeout_seconds: float) -> Weights | None:
        """The newest weights if their (generation, version) is `at_least` that, else None after the timeout.

        Called until they come: it asks, and after a second again, for a question or its answer may be lost.
        """
        self._drain(0.0)
        self.ask(at_least)
        if not self._has(at_least):
            self._drain(timeout_seconds)
        if not self._has(at_least):
            return None
        self._stop_asking()
        return self._newest

    def ask(self, at_least: tuple[int, int]) -> None:
        """Ask for weights, to be waited for later, unless these are here or were asked for a short while ago."""
        now = time.monotonic()
        if now < self._ask_due or self._has(at_least):
            return
        if self._is_asking:
            self._socket.unsubscribe(self._topic)
            # What is slow to come is asked for less and less often: each answer may be on its way before the next.
            self._ask_again_seconds = min(2 * self._ask_again_seconds, LONGEST_PAUSE_SECONDS)
        self._socket.subscribe(self._topic)
        self._is_asking = True
        self._ask_due = now + self._ask_again_seconds

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)

    def _has(self, at_least: tuple[int, int]) -> bool:
        return self._newest is not None and self._newest.age_key >= at_least

    def _stop_asking(self) -> None:
        if self._is_asking:
            self._socket.unsubscribe(self._topic)
            self._is_asking = False
        self._ask_due, self._ask_again_seconds = 0.0, ASK_AGAIN_SECONDS

    def _drain(self, timeout_seconds: float) -> None:
        """Take everything that has arrived, waiting at most so long for the first."""
        self._socket.poll(round(timeout_seconds * 1000))
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(frames)

    def _receive(self, frames: list[zmq.Frame]) -> None:
        try:
            if len(frames) != 2:
                raise WireError("frame_count", f"WEIGHTS has 2 frames, not {len(frames)}")
            arrived = weights.decode(frames[1].bytes)
            if not self._fits(arrived):
                raise WireError("malformed", "the weights are not of the run's network")
        except WireError as error:
            if self._limit.allows(error.reason):
                self._log.warning("weights ignored", reason=error.reason, detail=error.detail)
            return
        if self._newest is None or arrived.age_key > self._newest.age_key:
            self._newest = arrived
