"""The contract between Headrace's services: messages, codec, sockets, settings, metrics, environments, networks.

`proto/README.md` is the normative specification of everything here that crosses a socket.
"""

from __future__ import annotations

__version__ = "0.1.0"

SCHEMA_VERSION = 8
"""Version of the wire format; a peer that speaks another one is refused at JOIN."""
