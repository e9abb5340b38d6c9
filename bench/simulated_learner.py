"""A learner that trains nothing: it speaks the wire, and says of every batch at once that it is trained."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import zmq

from headrace_proto import messages, sockets
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, BatchHeader, Progress
from headrace_proto.specification import RunSpecification

PROGRESS_SECONDS = 0.3


class SimulatedLearner:
    """XPUB and PULL of a learner. `version` counts the batches that it has had."""

    def __init__(self, run: RunSpecification, weights_bind: str, batches_address: str) -> None:
        self.version = 0
        self.trained = 0
        self._run = run
        self._name = secrets.token_bytes(SESSION_BYTES)
        self._gate = bytes(SESSION_BYTES)
        self._generation = self._batch = 0
        self._told_at = 0.0
        self._context = sockets.context()
        self._publisher = self._context.socket(zmq.XPUB)
        self._publisher.bind(weights_bind)
        self._puller = self._context.socket(zmq.PULL)
        self._puller.connect(batches_address)

    def receive(self, seconds: float) -> tuple[int, int]:
        """Transitions of the next batch and bytes of their payloads; (0, 0) if there is none after some time."""
        if time.monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._tell()
        if not self._puller.poll(round(seconds * 1000)):
            return 0, 0
        head, *frames = self._puller.recv_multipart(copy=False)
        header = messages.decode(BatchHeader, head.bytes)
        if header.rollouts == 0:
            self._gate, self._generation = header.gate, header.generation
            self.version = max(self.version, header.version)
        elif header.batch > self._batch:
            self._batch = header.batch
            self.trained += header.count
            self.version += 1
        self._tell()
        return header.count, sum(map(len, frames[1::2]))

    def receive_forever(self, seconds: float) -> Iterator[tuple[int, int]]:
        """The same, over and over."""
        while True:
            yield self.receive(seconds)

    def close(self) -> None:
        """Free the sockets."""
        self._context.destroy(linger=0)

    def _tell(self) -> None:
        progress = Progress(
            learner=self._name,
            gate=self._gate,
            generation=self._generation,
            version=self.version,
            published_version=self.version,
            env_steps=self.trained,
            received_batch=self._batch,
            trained_batch=self._batch,
            trained=self.trained,
            rejected={},
            run=self._run,
            waiting_for="batch" if self._generation else "gate",
            finished=False,
        )
        self._publisher.send_multipart([PROGRESS_TOPIC, progress.encode()])
        self._told_at = time.monotonic()
