"""A service's metrics over HTTP, as numbers by name."""

from __future__ import annotations

import http.client
from collections import defaultdict

from chaos.invariants import Metrics

ANSWER_SECONDS = 2.0


def read(address: str) -> Metrics | None:
    """Every sample, summed over its labels, without the prefix `headrace_`; None if there is no whole answer."""
    connection = http.client.HTTPConnection(address, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    sums: defaultdict[str, float] = defaultdict(float)
    for line in text.splitlines():
        if not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            sums[sample.partition("{")[0].removeprefix("headrace_")] += float(value)
    return dict(sums)
