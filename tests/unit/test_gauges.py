"""The gate's metrics beside its account: a scrape at any time sees the equation hold."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from prometheus_client import CollectorRegistry, Metric

from headrace_gate.gate import Addresses, Gate, Limits
from headrace_gate.gauges import Gauges

ACTOR = b"A" * 16


class SlowlyRead(Counter[str]):
    """Entries of an account whose reading takes until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read, self.may_be_read = threading.Event(), threading.Event()

    def items(self) -> Any:
        self.is_read.set()
        assert self.may_be_read.wait(60)
        return super().items()


def account(scraped: list[Metric]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for metric in scraped:
        for sample in metric.samples:
            short = sample.name.removeprefix("headrace_gate_").removesuffix("_total").removesuffix("_transitions")
            sums[short] += int(sample.value)
    return sums


def test_a_scrape_in_the_middle_of_an_update_sees_an_account_that_closes() -> None:
    registry = CollectorRegistry()
    gate = Gate(bytes(16), Limits(256, 32, 10.0), Addresses("transitions", "weights"))
    gauges = Gauges(registry, gate.limits.capacity)
    gate.ledger.rejected = slow = SlowlyRead()
    gate.ledger.grant(ACTOR, 1, 40, 0)
    gate.ledger.reject(ACTOR, 1, 0, 5, "malformed", final=False)

    update = threading.Thread(target=gauges.update, args=(gate, 0.0))
    update.start()
    assert slow.is_read.wait(60)
    scraped: list[Metric] = []
    scrape = threading.Thread(target=lambda: scraped.extend(registry.collect()))
    scrape.start()
    scrape.join(0.5)  # one that waits for nobody is over by now
    slow.may_be_read.set()
    update.join(60)
    scrape.join(60)

    books = account(scraped)
    assert (books["promised"], books["rejected"], books["alive"]) == (40, 5, 35)
