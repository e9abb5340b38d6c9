"""A service's HTTP endpoint: /metrics, /healthz, /readyz, and 404 for anything else."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from headrace_proto import whole_file
from headrace_proto.errors import UserError
from headrace_proto.run_label import LabelledByRun


class Health:
    """What /healthz and /readyz answer: the loop's last sign of life, what it waits for, and whether it is ready.

    `run` is the name of the run that the service works for, empty before it is known: the label of every metric.
    """

    def __init__(self, stall_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._last_beat = clock()
        self.ready = False
        self.waiting_for = ""
        self.run = ""

    def beat(self, waiting_for: str = "") -> None:
        """The main loop turned; `waiting_for` names what it waits for, empty when it works."""
        self._last_beat = self._clock()
        self.waiting_for = waiting_for

    @property
    def silent_seconds(self) -> float:
        """Seconds since the loop last turned."""
        return self._clock() - self._last_beat

    @property
    def healthy(self) -> bool:
        """Whether the loop turned lately."""
        return self.silent_seconds < self._stall_seconds

    def describe(self) -> str:
        """One line for a person with a browser or curl."""
        if not self.healthy:
            return f"stalled: the loop has not turned for {self.silent_seconds:.0f} s\n"
        return f"waiting for {self.waiting_for}\n" if self.waiting_for else "ok\n"


class TelemetryServer:
    """Serves a registry and a health state until closed."""

    def __init__(self, registry: CollectorRegistry, health: Health, host: str, port: int) -> None:
        """Bind and serve in a daemon thread; port 0 takes any free one. Raises UserError if the port is taken."""
        try:
            self._server = _Server((host, port), _handler(registry, health))
        except OSError as error:
            reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error)
            raise UserError(
                f"--metrics-port {port}: cannot listen on {host}: {reason}; choose another port, or 0 for any free one"
            ) from error
        bound_host, bound_port = self._server.server_address[:2]
        self.address = f"{bound_host!s}:{bound_port}"
        threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True).start()

    def write_address(self, path: Path | None) -> None:
        """Write the address to a file, for whoever chose port 0; whole or not at all. Raises UserError if it cannot."""
        if path is None:
            return
        try:
            whole_file.write(path, self.address + "\n")
        except (OSError, ValueError) as error:  # ValueError: a path without a name
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"--metrics-address-file {path}: cannot write it: {reason}; choose a file in a folder that you may "
                "write to"
            ) from error

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Who asked and went away, as a scrape does that took too long, is no error of the service.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(registry: CollectorRegistry, health: Health) -> type[BaseHTTPRequestHandler]:
    labelled = LabelledByRun(registry, lambda: health.run)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # a connection that asks nothing holds a thread no longer

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(labelled), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                self._answer(200 if health.healthy else 503, health.describe().encode())
            elif path == "/readyz":
                ready = health.ready and health.healthy
                self._answer(200 if ready else 503, b"ready\n" if ready else f"not ready: {health.describe()}".encode())
            else:
                self._answer(404, b"not found: try /metrics, /healthz or /readyz\n")

        def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class names it
            """Scrapes are not news."""

    return Handler
