"""How Headrace's ZeroMQ sockets are made: one place for limits, linger and errors that a person can read."""

from __future__ import annotations

import socket as unix_socket

import zmq

from headrace_proto.codec import MAX_MESSAGE_BYTES
from headrace_proto.errors import UserError

HIGH_WATER_MARK = 256
"""Backstop in messages; the bound in transitions is kept by credits, since a high-water mark counts per peer."""

LINGER_MILLISECONDS = 500


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context whose sockets share the limits of this page."""
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made.linger = LINGER_MILLISECONDS
    made.sndhwm = HIGH_WATER_MARK
    made.rcvhwm = HIGH_WATER_MARK
    made.maxmsgsize = MAX_MESSAGE_BYTES
    made.handshake_ivl = 5_000
    made.reconnect_ivl = 100
    made.reconnect_ivl_max = 2_000
    return made


def bind(socket: zmq.Socket[bytes], address: str, setting: str) -> str:
    """Bind and return the address with its real port; raises UserError that names the setting."""
    if _is_served(address):
        raise UserError(_in_use(address, setting))
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise UserError(_in_use(address, setting)) from error
        raise UserError(f"--{setting} {address}: cannot bind: {error}; allowed: tcp://HOST:PORT, ipc://PATH") from error
    return socket.get_string(zmq.LAST_ENDPOINT)


def _in_use(address: str, setting: str) -> str:
    return f"--{setting} {address}: the address is in use; stop the other process or choose another address"


def _is_served(address: str) -> bool:
    # ZeroMQ would take an ipc path away from its server; a file that nobody serves was left by a killed process.
    if not address.startswith("ipc:///"):
        return False
    with unix_socket.socket(unix_socket.AF_UNIX) as probe:
        return probe.connect_ex(address.removeprefix("ipc://")) == 0


def connect(socket: zmq.Socket[bytes], address: str, setting: str) -> None:
    """Connect in the background; raises UserError for an address that ZeroMQ cannot use."""
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise UserError(
            f"--{setting} {address}: cannot connect: {error}; allowed: tcp://HOST:PORT, ipc://PATH"
        ) from error


def reachable(address: str, by: str) -> str:
    """`address` as its peer can reach it: a wildcard host stands for the host of `by`."""
    for wildcard in ("tcp://*:", "tcp://0.0.0.0:"):
        if address.startswith(wildcard) and by.startswith("tcp://"):
            host = by.removeprefix("tcp://").rpartition(":")[0]
            return f"tcp://{host}:{address.removeprefix(wildcard)}"
    return address
