"""The link to the learner's weights: the newest wins, whatever the order of arrival."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from headrace_proto import weights
from headrace_proto.errors import WireError
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import WEIGHTS_TOPIC
from headrace_proto.sockets import ServiceSockets
from headrace_proto.weights import Weights

SUBSCRIBE_AGAIN_SECONDS = 1.0
MOST_QUEUED = 16
"""Publications kept for an actor that does not look: weights are large, and only the newest counts."""


class WeightsLink:
    """SUB to WEIGHTS. `newest` is what to play by, None before the first."""

    def __init__(
        self, service_sockets: ServiceSockets, address: str, fits: Callable[[Weights], bool], log: Logger
    ) -> None:
        """Connect and subscribe; weights that `fits` refuses are ignored."""
        self.newest: Weights | None = None
        self._fits = fits
        self._log = log
        self._limit = RateLimit()
        self._socket = service_sockets.make(zmq.SUB)
        self._socket.rcvhwm = MOST_QUEUED
        self._socket.subscribe(WEIGHTS_TOPIC)
        self._subscribed_at = time.monotonic()
        service_sockets.connect(self._socket, address, "weights-address", server="learner")

    def drain(self, timeout_seconds: float = 0.0) -> None:
        """Take everything that has arrived, waiting at most so long for the first."""
        if timeout_seconds:
            self._socket.poll(round(timeout_seconds * 1000))
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._receive(frames)

    def wait_for(self, at_least: tuple[int, int], timeout_seconds: float) -> Weights | None:
        """The newest weights if their (generation, version) is `at_least` that, else None after the timeout."""
        self.drain()
        if self.newest is None or self.newest.age_key < at_least:
            self._subscribe_again_when_due()
            self.drain(timeout_seconds)
        return self.newest if self.newest is not None and self.newest.age_key >= at_least else None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)

    def _receive(self, frames: list[bytes]) -> None:
        try:
            if len(frames) != 2:
                raise WireError("frame_count", f"WEIGHTS has 2 frames, not {len(frames)}")
            received = weights.decode(frames[1])
            if not self._fits(received):
                raise WireError("malformed", "the weights are not of the run's network")
        except WireError as error:
            if self._limit.allows(error.reason):
                self._log.warning("weights ignored", reason=error.reason, detail=error.detail)
            return
        if self.newest is None or received.age_key > self.newest.age_key:
            self.newest = received

    def _subscribe_again_when_due(self) -> None:
        # The learner answers a subscription with its last weights, which makes good a publication that was lost.
        now = time.monotonic()
        if now - self._subscribed_at >= SUBSCRIBE_AGAIN_SECONDS:
            self._subscribed_at = now
            self._socket.unsubscribe(WEIGHTS_TOPIC)
            self._socket.subscribe(WEIGHTS_TOPIC)
