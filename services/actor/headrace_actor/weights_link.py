"""The link to the learner's weights: the newest wins, whatever the order of arrival.

An actor that waits for credit hears of many publications and acts by few of them, so that what arrives is kept as it
came, and its tensors are decoded when they are to be acted by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from headrace_proto import weights
from headrace_proto.errors import WireError
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import WEIGHTS_TOPIC
from headrace_proto.sockets import ServiceSockets
from headrace_proto.weights import Heading, Weights

SUBSCRIBE_AGAIN_SECONDS = 1.0
MOST_QUEUED = 16
"""Publications kept for an actor that does not look: weights are large, and only the newest counts."""

NONE_YET = (-1, -1)
"""Generation and version before any."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A publication whose tensors nobody has looked at."""

    heading: Heading
    blob: zmq.Frame


class WeightsLink:
    """SUB to WEIGHTS."""

    def __init__(
        self, service_sockets: ServiceSockets, address: str, fits: Callable[[Heading], bool], log: Logger
    ) -> None:
        """Connect and subscribe; weights that `fits` refuses are ignored."""
        self._decoded: Weights | None = None
        self._arrived: Arrived | None = None
        self._fits = fits
        self._log = log
        self._limit = RateLimit()
        self._socket = service_sockets.make(zmq.SUB)
        self._socket.rcvhwm = MOST_QUEUED
        self._socket.subscribe(WEIGHTS_TOPIC)
        self._subscribed_at = time.monotonic()
        service_sockets.connect(self._socket, address, "weights-address", server="learner")

    def decode_newest(self) -> Weights | None:
        """What to play by, None before the first; a publication that turns out to be broken is logged and ignored."""
        if self._arrived is not None:
            arrived, self._arrived = self._arrived, None
            try:
                self._decoded = weights.decode(arrived.blob.bytes)
            except WireError as error:
                self._ignore(error)
        return self._decoded

    @property
    def newest_key(self) -> tuple[int, int]:
        """Generation and version of the newest that has arrived, decoded or not."""
        newest = self._arrived.heading if self._arrived is not None else self._decoded
        return newest.age_key if newest is not None else NONE_YET

    def drain(self, timeout_seconds: float = 0.0) -> None:
        """Take everything that has arrived, waiting at most so long for the first."""
        if timeout_seconds:
            self._socket.poll(round(timeout_seconds * 1000))
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(frames)

    def wait_for(self, at_least: tuple[int, int], timeout_seconds: float) -> Weights | None:
        """The newest weights if their (generation, version) is `at_least` that, else None after the timeout."""
        self.drain()
        if self.newest_key < at_least:
            self._subscribe_again_when_due()
            self.drain(timeout_seconds)
        if self.newest_key < at_least:
            return None
        newest = self.decode_newest()  # which may turn out to be none, if what had arrived is broken
        return newest if newest is not None and newest.age_key >= at_least else None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0)

    def _receive(self, frames: list[zmq.Frame]) -> None:
        try:
            if len(frames) != 2:
                raise WireError("frame_count", f"WEIGHTS has 2 frames, not {len(frames)}")
            heading = weights.read_heading(frames[1].buffer)
            if not self._fits(heading):
                raise WireError("malformed", "the weights are not of the run's network")
        except WireError as error:
            self._ignore(error)
            return
        if heading.age_key > self.newest_key:
            self._arrived = Arrived(heading, frames[1])

    def _ignore(self, error: WireError) -> None:
        if self._limit.allows(error.reason):
            self._log.warning("weights ignored", reason=error.reason, detail=error.detail)

    def _subscribe_again_when_due(self) -> None:
        # The learner answers a subscription with its last weights, which makes good a publication that was lost.
        now = time.monotonic()
        if now - self._subscribed_at >= SUBSCRIBE_AGAIN_SECONDS:
            self._subscribed_at = now
            self._socket.unsubscribe(WEIGHTS_TOPIC)
            self._socket.subscribe(WEIGHTS_TOPIC)
