"""How Headrace's ZeroMQ sockets are made: one place for limits, linger and errors that a person can read."""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import socket as unix_socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import zmq

from headrace_proto.codec import MAX_MESSAGE_BYTES
from headrace_proto.connection_metrics import ConnectionMetrics
from headrace_proto.connections import Connections
from headrace_proto.curve import ClientKeys, Curve
from headrace_proto.errors import UserError
from headrace_proto.handshakes import HandshakeWatch, Refusal
from headrace_proto.keys import Keyring, Role
from headrace_proto.logs import Logger, RateLimit
from headrace_proto.settings import SocketSettings

HIGH_WATER_MARK = 256
"""Backstop in messages; the bound in transitions is kept by credits, since a high-water mark counts per peer."""

LINGER_MILLISECONDS = 500

UNREACHABLE_MILLISECONDS = 15_000
"""A connection on which nothing that was sent has arrived for so long is given up."""

CONNECT_MILLISECONDS = 5_000
"""An attempt to connect that nobody answers. The kernel's own pauses double, to a minute after an outage of minutes."""

RECONNECT_SECONDS = 2.0
"""Between attempts of a client whose handshakes fail."""

NO_SERVER = "something else does, such as a proxy while the server is away: check host and port if this goes on"


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """A context whose sockets share the limits of this page.

    The process may then open as many files as the system lets it. A connection is one, and an actor has two to the
    gate, so that the usual limit of 1,024 would keep out the 512th in silence.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made.linger = LINGER_MILLISECONDS
    made.sndhwm = HIGH_WATER_MARK
    made.rcvhwm = HIGH_WATER_MARK
    made.maxmsgsize = MAX_MESSAGE_BYTES
    made.handshake_ivl = 5_000
    made.reconnect_ivl = 100
    made.reconnect_ivl_max = 2_000
    # A host that vanished without a word is noticed after 15 to 25 s. Without a limit TCP would send what was on its
    # way to it again and again for a quarter of an hour, and a PUSH give it its share of batches all the while.
    # ZeroMQ's own heartbeats would end healthy connections: a peer whose pipe is full does not read them.
    made.tcp_keepalive = 1
    made.tcp_keepalive_idle = 10
    made.tcp_keepalive_intvl = 5
    made.tcp_keepalive_cnt = 3
    made.tcp_maxrt = UNREACHABLE_MILLISECONDS
    made.connect_timeout = CONNECT_MILLISECONDS
    return made


@dataclass(slots=True)
class _Connection:
    socket: zmq.Socket[bytes]
    address: str
    server: Role
    keys: ClientKeys | None
    refusal: Refusal = field(default_factory=Refusal)
    due: float | None = None


class ServiceSockets:
    """The sockets of one service: a context, the keys on its TCP sockets, and a watch over their handshakes."""

    def __init__(
        self, role: Role, settings: SocketSettings, log: Logger, metrics: ConnectionMetrics | None = None
    ) -> None:
        """`metrics` are of the sockets that are bound. Raises UserError for keys that cannot be used."""
        self._insecure = settings.insecure
        self._log = log
        self._limit = RateLimit()
        self._connections: list[_Connection] = []
        keyring = None if settings.keys is None else Keyring(settings.keys, role)
        self.context = context()
        self.connections = Connections(metrics, log)
        self._watch = HandshakeWatch(metrics, self.connections, log)
        self._curve = None if keyring is None else Curve(self.context, keyring, log)

    def make(self, kind: int) -> zmq.Socket[bytes]:
        """A new socket, to be bound or connected here."""
        return self.context.socket(kind)

    def bind(self, socket: zmq.Socket[bytes], address: str, setting: str, name: str, clients: Collection[Role]) -> str:
        """Bind for clients of these roles and return the address with its real port.

        Raises UserError for an address that cannot be used or that needs keys, and HeadraceError if a client with an
        unknown key is not refused.
        """
        if not _is_tcp(address):
            return bind(socket, address, setting)
        self._require_keys(address, setting)
        if self._curve is not None:
            self._curve.serve(socket, name, clients)
        bound = bind(socket, address, setting)
        if self._curve is not None:
            self._curve.require_refusal(socket, bound)
        self._watch.server(socket, name)
        return bound

    def connect(self, socket: zmq.Socket[bytes], address: str, setting: str, server: Role) -> None:
        """Connect in the background to a server of a role; raises UserError, also where keys are needed."""
        if _is_tcp(address):
            self._require_keys(address, setting)
            connection = _Connection(socket, address, server, self._client_keys(server))
            self._connections.append(connection)
            self._watch.client(socket, address, connection.refusal)
            if connection.keys is not None:
                connection.keys.use(socket)
        connect(socket, address, setting)

    def reconnect_refused(self) -> None:
        """Connect anew where handshakes fail, with the keys as they are now; for the sockets' own thread, each turn.

        ZeroMQ itself gives up after a refusal, or where an answer is not its protocol (a proxy's, as a rule, while the
        server behind it is away), and goes on with the old keys after a connection that broke. Raises HeadraceError if
        the thread has died that answers for the keys.
        """
        if self._curve is not None:
            self._curve.require_life()
        self._connections = [connection for connection in self._connections if not connection.socket.closed]
        now = time.monotonic()
        for connection in self._connections:
            if not (connection.refusal.reason or connection.refusal.given_up):
                connection.due = None
            elif connection.due is None:
                connection.due = now + RECONNECT_SECONDS
            elif now >= connection.due:
                connection.due = now + RECONNECT_SECONDS
                self._reconnect(connection)

    def _reconnect(self, connection: _Connection) -> None:
        try:
            keys = self._client_keys(connection.server)
        except UserError as error:
            if self._limit.allows("keys"):
                self._log.error("cannot connect: the keys cannot be read", address=connection.address, error=str(error))
            return
        if not connection.refusal.given_up and keys == connection.keys:
            return  # ZeroMQ tries again by itself, and keeps what waits to be sent
        if not connection.refusal.reason and self._limit.allows(connection.address):
            self._log.warning("no ZeroMQ server answers", address=connection.address, advice=NO_SERVER)
        connection.keys = keys
        if keys is not None:
            keys.use(connection.socket)
        with contextlib.suppress(zmq.ZMQError):  # the socket may have forgotten the address already
            connection.socket.disconnect(connection.address)
        connection.socket.connect(connection.address)

    def _client_keys(self, server: Role) -> ClientKeys | None:
        return None if self._curve is None else self._curve.client_keys(server)

    def close(self, linger: int = LINGER_MILLISECONDS) -> None:
        """Send what is under way, for so many milliseconds, and free everything; sockets still open are closed."""
        self._watch.close()
        if self._curve is not None:
            self._curve.close()
        self.context.destroy(linger=linger)

    def _require_keys(self, address: str, setting: str) -> None:
        if self._curve is None and not self._insecure and not is_loopback(address):
            raise UserError(
                f"--{setting} {address}: reaches beyond this machine without keys; give --keys DIR (made by "
                "`headrace keys make`), or an address on 127.0.0.1, or --insecure on a network that you trust"
            )


def is_loopback(address: str) -> bool:
    """Whether a tcp address stays on this machine by its name alone."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_tcp(address: str) -> bool:
    return address.startswith("tcp://")


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
