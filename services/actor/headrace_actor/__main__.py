"""`headrace-actor`: one actor; see `--help` for its settings."""

from __future__ import annotations

import os
import sys

from prometheus_client import CollectorRegistry

from headrace_proto import arguments, logs
from headrace_proto.lifecycle import StopSignal, run_main
from headrace_proto.metrics import ActorMetrics
from headrace_proto.settings import ActorSettings
from headrace_proto.telemetry import Health, TelemetryServer


def main() -> None:
    """Run an actor until it is stopped or the run is finished."""
    run_main(_run)


def _run() -> None:
    stop = StopSignal().install()
    chosen = arguments.parse(ActorSettings, sys.argv[1:], "headrace-actor")
    log = logs.configure("actor", chosen.log_level)
    # Read by torch, which the service imports: processes with many threads each do not share cores, they collapse.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from headrace_actor.service import ActorService

    # After that, which takes a minute where many start at once: a loop that cannot turn yet is no loop that stands.
    registry, health = CollectorRegistry(), Health()
    metrics = ActorMetrics(registry)
    telemetry = TelemetryServer(registry, health, chosen.metrics_host, chosen.metrics_port)
    telemetry.write_address(chosen.metrics_address_file)
    is_finished = ActorService(chosen, metrics, health, stop, log).run()
    telemetry.close()
    if not is_finished:
        sys.exit(chosen.stopped_exit_status)


if __name__ == "__main__":
    main()
