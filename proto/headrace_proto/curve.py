"""CURVE on a service's TCP sockets: who may connect where, and a test that nobody else may.

The protocol is ZMTP's CURVE mechanism (RFC 26/CurveZMQ) with ZAP (RFC 27) for the allow-list. A ZAP domain is a bound
socket's name, and it is enforced: if the handler were dead, every handshake would fail.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from headrace_proto.errors import HeadraceError, UserError
from headrace_proto.keys import Keyring, Role
from headrace_proto.logs import Logger, RateLimit

SELF_TEST_SECONDS = 10.0

PEER_TYPES = {zmq.PULL: zmq.PUSH, zmq.PUSH: zmq.PULL, zmq.ROUTER: zmq.DEALER, zmq.XPUB: zmq.SUB}
"""Socket type that connects to a bound one; ZeroMQ looks at types before it looks at keys."""


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """The keys of a connection, in Z85."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    def use(self, socket: zmq.Socket[bytes]) -> None:
        """Let the socket's next connection accept only this server."""
        socket.curve_serverkey = self.server
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret


class Curve:
    """The keys of one service on the sockets of its context."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keyring: Keyring, log: Logger) -> None:
        """Start the thread that answers ZAP, which every bound socket depends on."""
        self._keyring = keyring
        self._log = log
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()

    def serve(self, socket: zmq.Socket[bytes], name: str, clients: Collection[Role]) -> None:
        """Let a socket that will be bound accept only clients of these roles."""
        self._authenticator.configure_curve_callback(name, _AllowList(self._keyring, clients, self._log))
        socket.curve_server = True
        socket.curve_secretkey = self._keyring.pair().secret
        socket.zap_domain = name.encode()
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def client_keys(self, server: Role) -> ClientKeys:
        """What a socket needs to connect to a server of this role, as the files say now; raises UserError."""
        pair = self._keyring.pair()
        return ClientKeys(self._keyring.current(server), pair.public, pair.secret)

    def require_refusal(self, socket: zmq.Socket[bytes], address: str) -> None:
        """Raise HeadraceError unless a client with an unknown key is refused at a bound socket."""
        outcome = _knock(int(socket.type), address, self._keyring.pair().public)
        if outcome != zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            heard = "nothing" if outcome is None else zmq.Event(outcome).name
            raise HeadraceError(
                f"self-test of {address}: a client with an unknown key was not refused (heard: {heard}); "
                "not served, since anybody could connect"
            )

    def require_life(self) -> None:
        """Raise HeadraceError if the thread that answers ZAP has died, for then nobody can connect any more."""
        if self._authenticator.pipe is not None and not self._authenticator.is_alive():
            raise HeadraceError(
                "the thread that says whose keys are accepted has died, so nobody can connect any more; start this "
                "service again"
            )

    def close(self) -> None:
        """End the thread; before the context ends."""
        pipe = self._authenticator.pipe
        if pipe is not None and not self._authenticator.is_alive():
            pipe.close()
            self._authenticator.pipe = None  # type: ignore[assignment]  # or stop() would wait for the dead to listen
        self._authenticator.stop()


class _AllowList:
    """Credentials of one ZAP domain, read anew for each handshake."""

    def __init__(self, keyring: Keyring, clients: Collection[Role], log: Logger) -> None:
        self._keyring = keyring
        self._clients = clients
        self._log = log
        self._limit = RateLimit()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client's public key, in Z85, is accepted."""
        try:
            return key in self._keyring.accepted(self._clients)
        except UserError as error:
            if self._limit.allows("unreadable"):
                self._log.error("nobody is accepted: the keys cannot be read", socket=domain, error=str(error))
            return False
        except Exception as error:  # the thread must live on, for it answers every other handshake too
            if self._limit.allows("error"):
                self._log.error("a client is not accepted", socket=domain, error=repr(error), exc_info=True)
            return False


def _knock(server_type: int, address: str, server_key: bytes) -> int | None:
    """The first handshake event of a client with a key made just now; None if there is none in time."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(PEER_TYPES[zmq.SocketType(server_type)]) as client:
        client.linger = 0
        client.reconnect_ivl = -1
        client.curve_publickey, client.curve_secretkey, client.curve_serverkey = public, secret, server_key
        events = (
            zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        with client.get_monitor_socket(events) as monitor:
            client.connect(as_seen_here(address))
            deadline = time.monotonic() + SELF_TEST_SECONDS
            while time.monotonic() < deadline:
                if monitor.poll(100):
                    return int(recv_monitor_message(monitor)["event"])
    return None


def as_seen_here(address: str) -> str:
    """A bound address as this machine can reach it: a wildcard stands for loopback."""
    for wildcard, loopback in (("tcp://0.0.0.0:", "tcp://127.0.0.1:"), ("tcp://[::]:", "tcp://[::1]:")):
        if address.startswith(wildcard):
            return loopback + address.removeprefix(wildcard)
    return address
