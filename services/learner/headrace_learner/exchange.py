"""The learner's sockets, all in one thread, so that receiving and decoding overlap with training."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import zmq

from headrace_learner import batches
from headrace_learner.batches import Batch
from headrace_learner.subscriptions import Subscriptions
from headrace_proto import messages
from headrace_proto.errors import HeadraceError, WireError
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.messages import (
    PROGRESS_TOPIC,
    SESSION_BYTES,
    BatchHeader,
    Progress,
    Session,
)
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.sockets import ServiceSockets
from headrace_proto.specification import RunSpecification

PROGRESS_SECONDS = 0.3
MAX_READY_BATCHES = 2
PUBLISH_HIGH_WATER_MARK = 16
"""Messages kept for one slow subscriber: with weights of 7 MB that is what one that asks and does not read may cost."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the learner stands, as Progress tells it; see there."""

    gate: Session = bytes(SESSION_BYTES)
    generation: int = 0
    version: int = 0
    published_version: int = 0
    env_steps: int = 0
    trained_batch: int = 0
    trained: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    waiting_for: str = "gate"
    finished: bool = False


class Exchange:
    """Receives batches, publishes weights and progress. Made and called by the training thread."""

    def __init__(
        self,
        learner: Session,
        standing: Standing,
        run: RunSpecification,
        service_sockets: ServiceSockets,
        weights_bind: str,
        batches_address: str,
        metrics: LearnerMetrics,
        log: Logger,
    ) -> None:
        """Bind, connect and start, and close the sockets at the end; raises UserError for an unusable address."""
        self._learner = learner
        self._run_specification = run
        self._metrics = metrics
        self._log = log
        self._may_log = RateLimit()
        self._sockets = service_sockets
        self._publisher = service_sockets.make(zmq.XPUB)
        self._puller = service_sockets.make(zmq.PULL)
        try:
            self._publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
            self._publisher.sndhwm = PUBLISH_HIGH_WATER_MARK
            self.weights_address = service_sockets.bind(
                self._publisher, weights_bind, "weights-bind", "weights", clients=["gate", "actor"]
            )
            service_sockets.connect(self._puller, batches_address, "batches-address", server="gate")
        except HeadraceError:
            service_sockets.close(linger=0)
            raise
        self._wake = service_sockets.make(zmq.PAIR)
        self._waker = service_sockets.make(zmq.PAIR)
        self._wake.bind("inproc://wake")
        self._waker.connect("inproc://wake")
        self._inbox: queue.Queue[Batch] = queue.Queue(MAX_READY_BATCHES)
        self._outbox: queue.SimpleQueue[Standing | bytes] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._failure: BaseException | None = None
        self._standing = standing
        self._received_batch = 0
        self._weights: bytes | None = None
        self._publication = 0
        self._subscriptions = Subscriptions(self._publisher, service_sockets.connections)
        self._last_progress = 0.0
        self._thread = threading.Thread(target=self._guarded, name="exchange", daemon=True)
        self._thread.start()

    @property
    def has_batch(self) -> bool:
        """Whether `take` would return at once."""
        return not self._inbox.empty()

    def take(self, timeout_seconds: float) -> Batch | None:
        """The next batch or greeting, None if there is none in time; raises HeadraceError if the thread is dead."""
        try:
            return self._inbox.get(timeout=timeout_seconds)
        except queue.Empty:
            self._require_alive()
            return None

    def report(self, standing: Standing) -> None:
        """Send Progress now, and again every 0.3 s until there is another standing."""
        self._post(standing)

    def publish(self, weights: bytes) -> None:
        """Answer with these weights whoever asks from now on."""
        self._post(weights)

    def close(self) -> None:
        """Send what is posted and free the sockets."""
        self._closing.set()
        self._post(self._standing)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._waker.close()
            self._sockets.close()

    def _post(self, item: Standing | bytes) -> None:
        if not self._closing.is_set():
            self._require_alive()
            self._outbox.put(item)
        with contextlib.suppress(zmq.Again):  # so many wake-up calls wait that one more changes nothing
            self._waker.send(b"", zmq.NOBLOCK)

    def _require_alive(self) -> None:
        if not self._thread.is_alive():
            raise HeadraceError("the thread of the learner's sockets has died") from self._failure

    def _guarded(self) -> None:
        try:
            while not self._closing.is_set():
                self._turn()
            self._send_posted()
        except BaseException as error:  # the training thread raises it, see _require_alive
            self._failure = error
        finally:
            for socket in (self._publisher, self._puller, self._wake):
                socket.close()

    def _turn(self) -> None:
        self._sockets.reconnect_refused()
        poller = zmq.Poller()
        poller.register(self._wake, zmq.POLLIN)
        poller.register(self._publisher, zmq.POLLIN)
        if not self._inbox.full():
            poller.register(self._puller, zmq.POLLIN)
        ready = dict(poller.poll(self._milliseconds_to_wait()))
        if self._wake in ready:
            self._drain_wake()
        self._send_posted()
        if self._publisher in ready:
            self._answer(self._subscriptions.hear())
        if self._puller in ready:
            self._receive()
        if time.monotonic() - self._last_progress >= PROGRESS_SECONDS:
            self._send_progress()

    def _milliseconds_to_wait(self) -> int:
        due = self._last_progress + PROGRESS_SECONDS
        return max(0, int((due - time.monotonic()) * 1000) + 1)

    def _drain_wake(self) -> None:
        while self._wake.poll(0):
            self._wake.recv(zmq.NOBLOCK)

    def _send_posted(self) -> None:
        is_told = False
        while not self._outbox.empty():
            item = self._outbox.get()
            if isinstance(item, bytes):
                is_first = self._weights is None
                self._weights = item
                self._publication += 1
                if is_first:
                    self._answer(self._subscriptions.topics)
            else:
                self._standing = item
                is_told = True
        if is_told:
            self._send_progress()

    def _answer(self, topics: Sequence[bytes]) -> None:
        """Send the newest weights under each topic, which one actor hears; who asks before the first waits for it."""
        now = time.monotonic()
        for topic in topics:
            if self._weights is not None and self._subscriptions.may_send(topic, self._publication, now):
                self._send(topic, self._weights)

    def _send_progress(self) -> None:
        standing = self._standing
        progress = Progress(
            learner=self._learner,
            gate=standing.gate,
            generation=standing.generation,
            version=standing.version,
            published_version=standing.published_version,
            env_steps=standing.env_steps,
            received_batch=self._received_batch,
            trained_batch=standing.trained_batch,
            trained=standing.trained,
            rejected=standing.rejected,
            run=self._run_specification,
            waiting_for=standing.waiting_for,
            finished=standing.finished,
        )
        self._send(PROGRESS_TOPIC, progress.encode())
        self._last_progress = time.monotonic()

    def _send(self, topic: bytes, body: bytes) -> None:
        self._publisher.send_multipart([topic, body], copy=False)
        self._metrics.published_bytes.inc(len(topic) + len(body))

    def _receive(self) -> None:
        frames = self._puller.recv_multipart(copy=False)
        try:
            header = messages.decode(BatchHeader, frames[0].bytes)
        except WireError as error:
            self._refuse(str(error))
            return
        if header.learner != self._learner:
            self._refuse(f"batch {header.batch} is addressed to another learner")
            return
        if 0 < header.batch <= self._received_batch:
            self._refuse(f"batch {header.batch} came before")
            return
        batch = batches.assemble(header, [frame.buffer for frame in frames[1:]], self._run_specification)
        self._received_batch = max(self._received_batch, header.batch)
        if batch.rejected and self._may_log.allows("rejected"):
            self._log.warning("transitions_rejected", batch=header.batch, **batch.rejected)
        self._inbox.put_nowait(batch)

    def _refuse(self, reason: str) -> None:
        self._metrics.refused_batches.inc()
        if self._may_log.allows("refused"):
            self._log.warning("batch_refused", reason=reason)
