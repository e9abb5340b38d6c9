"""`headrace-gate`: the replay-gate as a process."""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry

from headrace_gate.service import GateService
from headrace_proto import logs
from headrace_proto.arguments import parse
from headrace_proto.lifecycle import StopSignal, run_main
from headrace_proto.settings import GateSettings
from headrace_proto.telemetry import Health, TelemetryServer


def main() -> None:
    """Read the settings, open the sockets, and turn until stopped."""
    run_main(_serve)


def _serve() -> None:
    settings = parse(GateSettings, sys.argv[1:], "headrace-gate")
    log = logs.configure("gate", settings.log_level)
    stop = StopSignal().install()
    registry, health = CollectorRegistry(), Health()
    # The service first: a scrape never sees counters from before the journal was read, which would look like a reset.
    service = GateService(settings, registry, health, log)
    telemetry = TelemetryServer(registry, health, settings.metrics_host, settings.metrics_port)
    telemetry.write_address(settings.metrics_address_file)
    log.info("started", control=service.control_address, capacity=settings.capacity, metrics=telemetry.address)
    service.run(stop)


if __name__ == "__main__":
    main()
