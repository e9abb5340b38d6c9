"""Asks the service in this container whether it is ready: `python -m headrace_proto.healthcheck PORT`.

Run again and again beside every service, so it imports next to nothing: no HTTP library, no settings.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

PORT_VARIABLE = "HEADRACE_METRICS_PORT"
TIMEOUT_SECONDS = 2.0


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print the service's answer; returns the exit status, 0 for ready and 1 for anything else."""
    asked = environment.get(PORT_VARIABLE) or "".join(arguments[:1])
    if not (asked.isascii() and asked.isdigit() and 0 < int(asked) <= 65535):
        print(f"port {asked!r}: must be 1 to 65535; give it as the argument or in {PORT_VARIABLE}")
        return 1
    try:
        status, body = get_readyz(int(asked))
    except OSError as error:
        print(f"no answer on port {asked}: {error}")
        return 1
    print(body)
    return 0 if status == "200" else 1


def get_readyz(port: int) -> tuple[str, str]:
    """Status and body of the answer to GET /readyz; raises OSError if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        # The service closes the connection at the answer's end, as HTTP/1.0 has it.
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    status = head.partition("\r\n")[0].split()[1:2]
    return "".join(status), body.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
