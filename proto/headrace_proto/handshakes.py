"""Counts and explains handshakes that fail: a peer without the right key is otherwise only silent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from headrace_proto.connection_metrics import ConnectionMetrics
from headrace_proto.connections import Connections
from headrace_proto.logs import Logger, RateLimit

FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
POLL_MILLISECONDS = 200
BURST = 1000
"""Events heard of one socket in a row. ZeroMQ's own thread waits for whoever does not listen to them."""

ADVICE_TO_CLIENTS = {
    "unknown_key": "the server does not accept this key: it must stand in the server's .pub file of this role",
    "wrong_server_key": "the server has another key than the .pub file here says",
    "not_curve": "one side uses keys and the other does not: give both --keys, or neither",
    "broken": "the server ended the connection: it was restarted, has another key than the .pub file here says, "
    "or only one side uses keys",
}


@dataclass(slots=True)
class Refusal:
    """What became of a client's last handshake; written by the watch, read by the sockets' thread.

    `reason` is why it failed, empty if it did not. `given_up` is True once the connection has ended, until ZeroMQ says
    that it tries again: it does not after a refusal, nor, in silence, when what answers is no ZeroMQ at all.
    """

    reason: str = ""
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class _Watched:
    monitor: zmq.Socket[bytes]
    heard: Callable[[int, int], None]


class HandshakeWatch:
    """Listens to the monitors of a service's TCP sockets in a thread of its own, from the first socket on."""

    def __init__(self, metrics: ConnectionMetrics | None, connections: Connections, log: Logger) -> None:
        """`metrics` is None where a service binds no socket."""
        self._metrics = metrics
        self._connections = connections
        self._log = log
        self._limit = RateLimit()
        self._watched: list[_Watched] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def server(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Count what fails at a bound socket, and keep its connections within their limits."""
        self._connections.watch(socket, name)

        def heard(event: int, value: int) -> None:
            if event == zmq.EVENT_ACCEPTED:
                self._connections.accepted(name, value)
            elif event == zmq.EVENT_DISCONNECTED:
                self._connections.ended(name, value)
            else:
                self._count(name, reason_of(event, value))

        self._watch(socket, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED, heard)

    def client(self, socket: zmq.Socket[bytes], address: str, refusal: Refusal) -> None:
        """Note why a connection to a server fails until it does not, and say in the log what to check."""

        def heard(event: int, value: int) -> None:
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                refusal.reason = ""
            elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CONNECT_RETRIED):
                refusal.given_up = event == zmq.EVENT_DISCONNECTED
            else:
                refusal.reason = reason_of(event, value)
                self._explain(address, refusal.reason)

        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
        self._watch(socket, events, heard)

    def close(self) -> None:
        """End the thread and free the monitors; before the context ends."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        for watched in self._watched:
            watched.monitor.close(linger=0)

    def _watch(self, socket: zmq.Socket[bytes], events: int, heard: Callable[[int, int], None]) -> None:
        monitor = socket.get_monitor_socket(FAILURES | events | zmq.EVENT_MONITOR_STOPPED)
        with self._lock:
            self._watched.append(_Watched(monitor, heard))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="handshakes", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except Exception as error:  # ZeroMQ's own thread would wait for a dead one
                if self._limit.allows("turn"):
                    self._log.error("the handshakes' watch goes on after an error", error=repr(error), exc_info=True)
                self._closing.wait(POLL_MILLISECONDS / 1000)

    def _turn(self) -> None:
        with self._lock:
            by_monitor = {watched.monitor: watched for watched in self._watched}
        poller = zmq.Poller()
        for monitor in by_monitor:
            poller.register(monitor, zmq.POLLIN)
        for monitor, _ in poller.poll(POLL_MILLISECONDS):
            self._hear_burst(by_monitor[monitor])
        self._connections.look()

    def _hear_burst(self, watched: _Watched) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(BURST):
                if watched.monitor.closed:
                    return
                self._hear(watched, recv_monitor_message(watched.monitor, zmq.NOBLOCK))

    def _hear(self, watched: _Watched, event: Mapping[str, Any]) -> None:
        if event["event"] == zmq.EVENT_MONITOR_STOPPED:
            watched.monitor.close(linger=0)
            with self._lock:
                self._watched.remove(watched)
        else:
            watched.heard(event["event"], event["value"])

    def _count(self, name: str, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.handshake_failures.labels(name, reason).inc()
        if self._limit.allows(f"{name} {reason}"):
            self._log.warning("handshake refused", socket=name, reason=reason)

    def _explain(self, address: str, reason: str) -> None:
        if self._limit.allows(f"{address} {reason}"):
            self._log.warning("handshake failed", address=address, reason=reason, advice=ADVICE_TO_CLIENTS[reason])


def reason_of(event: int, value: int) -> str:
    """The label value of a failed handshake's monitor event (zmq_socket_monitor(3))."""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "unknown_key"
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return "broken"
    return "wrong_server_key" if value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC else "not_curve"
