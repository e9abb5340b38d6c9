"""Metrics of the sockets that a service binds: who is connected, who was not let in, who was cut off."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

HANDSHAKE_FAILURE_REASONS = ("unknown_key", "wrong_server_key", "not_curve", "broken")
"""Why a peer could not connect to a bound socket."""

CUT_REASONS = ("endless_message", "frame_count", "oversized", "connections", "unexpected", "paused")
"""Why a connection was ended from this side."""


class ConnectionMetrics:
    """Connections of the bound tcp sockets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.handshake_failures = Counter(
            "headrace_handshake_failures_total",
            "Connections refused at this service's sockets, by reason.",
            ["socket", "reason"],
            registry=registry,
        )
        self.open = Gauge(
            "headrace_connections", "Connections open at this service's tcp sockets.", ["socket"], registry=registry
        )
        self.ended = Counter(
            "headrace_connections_ended_total",
            "Connections that have ended, from either side and for any reason.",
            ["socket"],
            registry=registry,
        )
        self.cut = Counter(
            "headrace_connections_cut_total",
            "Connections that this service has ended for what they did, by reason.",
            ["socket", "reason"],
            registry=registry,
        )

    def show(self, socket: str) -> None:
        """Let every sample of a socket be seen from the start."""
        self.open.labels(socket).set(0)
        self.ended.labels(socket)
        for reason in HANDSHAKE_FAILURE_REASONS:
            self.handshake_failures.labels(socket, reason)
        for reason in CUT_REASONS:
            self.cut.labels(socket, reason)
