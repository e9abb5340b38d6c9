"""A bound socket whose connections are watched, as services watch theirs, with the metrics of it."""

from __future__ import annotations

import zmq
from prometheus_client import CollectorRegistry
from secured_gate import quiet_log

from headrace_proto.connection_metrics import ConnectionMetrics
from headrace_proto.connections import Connections


class WatchedSocket:
    """A socket in a context of its own, on tcp once it is bound."""

    def __init__(self, kind: int, name: str) -> None:
        self.name = name
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.registry = CollectorRegistry()
        self.connections = Connections(ConnectionMetrics(self.registry), quiet_log())
        self.socket = self.context.socket(kind)

    def bind(self) -> str:
        """Bind and watch; returns the address."""
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.connections.watch(self.socket, self.name)
        return f"tcp://127.0.0.1:{port}"

    def cut(self, reason: str) -> float:
        """Connections that were ended for this."""
        labels = {"socket": self.name, "reason": reason}
        return self.registry.get_sample_value("headrace_connections_cut_total", labels) or 0.0

    def close(self) -> None:
        """End the context and all its sockets."""
        self.context.destroy(linger=0)
