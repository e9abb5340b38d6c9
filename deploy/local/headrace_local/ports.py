"""Ports of this machine that nobody uses."""

from __future__ import annotations

import socket
from contextlib import ExitStack, closing


def free_ports(count: int) -> list[int]:
    """As many different ports, free a moment ago."""
    with ExitStack() as open_sockets:
        ports = []
        for _ in range(count):
            listener = open_sockets.enter_context(closing(socket.socket()))
            listener.bind(("127.0.0.1", 0))
            ports.append(int(listener.getsockname()[1]))
        return ports
