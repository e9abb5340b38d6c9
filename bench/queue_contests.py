"""Runs one queue's command in its environment, and makes tables of what the queues did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from measurement import Measured, Round, Table, say
from peers_queues import environments, experience
from peers_queues.contest import Contest, Messages, Payload, Result
from peers_queues.environments import UnavailableError

STARTING_SECONDS = 120.0
PAYLOADS: tuple[Payload, ...] = ("atari", "cartpole")
MESSAGES: tuple[Messages, ...] = ("transitions", "rollouts")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue by the module that measures it, the environment that it needs, and what it carries for a user."""

    name: str
    title: str
    module: str
    environment: str | None
    messages: Messages
    bound: int | None = None


OURS = Queue("gate", "Headrace: rollouts of 5 that share frames", "our_gate", None, "rollouts")
RAW = Queue("raw", "raw PUSH-PULL forwarder", "raw_forwarder", None, "transitions")
PEERS = (
    Queue("redis", "Redis list, BLMPOP of 64", "redis_list", "redis", "transitions", 1000),
    Queue("reverb", "Reverb queue table", "reverb_table", "reverb", "transitions", 1000),
    Queue("process_queue", "multiprocessing.Queue", "process_queue", None, "transitions", 1000),
    Queue("redis_rollouts", "Redis list with our rollouts", "redis_list", "redis", "rollouts", 1000),
)


def run(queue: Queue, asked: Contest, may_install: bool = True) -> Result:
    """Run its command; raises UnavailableError where that fails, or where it is not installed and may not be."""
    interpreter = environments.own() if queue.environment is None else environments.of(queue.environment, may_install)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(  # noqa: S603 the command is our own
        [str(interpreter.python), "-m", f"peers_queues.{queue.module}", *asked.arguments()],
        env={**os.environ, **interpreter.variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=STARTING_SECONDS + asked.warm_up_seconds + asked.seconds)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{queue.title}: nothing came in {STARTING_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise UnavailableError(f"{queue.title}: {(errors.strip() or 'it said nothing').splitlines()[-1]}")
    return Result(**json.loads(output.splitlines()[-1]))


def named(prefix: str, result: Result, messages: Messages) -> dict[str, float]:
    """A result as a round's numbers."""
    transitions = max(1, result.transitions)
    return {
        f"{prefix}_transitions_per_second": result.transitions / result.seconds,
        f"{prefix}_messages_per_second": result.transitions / experience.transitions_in(messages) / result.seconds,
        f"{prefix}_bytes_per_second": result.payload_bytes / result.seconds,
        f"{prefix}_service_cpu_microseconds": result.service_cpu_seconds / transitions * 1e6,
        f"{prefix}_cpu_microseconds": result.cpu_seconds / transitions * 1e6,
    }


def equal_ratios(values: Round) -> dict[str, float]:
    """The gate's bytes a second over the raw forwarder's where messages are equal.

    And the three headline numbers: Atari's where it was measured, of transitions as messages.
    """
    ratios = {
        f"{payload}_{messages}_bytes_ratio": values[f"gate_{payload}_{messages}_bytes_per_second"]
        / values[f"raw_{payload}_{messages}_bytes_per_second"]
        for payload in PAYLOADS
        for messages in MESSAGES
        if f"raw_{payload}_{messages}_bytes_per_second" in values
    }
    measured = next(payload for payload in PAYLOADS if f"{payload}_transitions_bytes_ratio" in ratios)
    headline = f"{measured}_transitions"
    return {
        "transitions_per_second": values[f"gate_{headline}_transitions_per_second"],
        "raw_transitions_per_second": values[f"raw_{headline}_transitions_per_second"],
        "bytes_ratio": ratios[f"{headline}_bytes_ratio"],
        **ratios,
    }


def user_ratios(values: Round) -> dict[str, float]:
    """How many times a peer's transitions a second the gate has, as a user sees both."""
    return {
        f"times_{peer.name}_{payload}": values[f"user_gate_{payload}_transitions_per_second"]
        / values[f"user_{peer.name}_{payload}_transitions_per_second"]
        for peer in PEERS
        for payload in PAYLOADS
        if values.get(f"user_{peer.name}_{payload}_transitions_per_second")
    }


def equal_table(measured: Measured) -> Table:
    """The gate beside the raw forwarder."""
    titles = {
        ("atari", "transitions"): "Atari, pairs of states, one a message",
        ("atari", "rollouts"): "Atari, rollouts of 5 that share frames",
        ("cartpole", "transitions"): "CartPole, one transition a message",
        ("cartpole", "rollouts"): "CartPole, rollouts of 5",
    }
    rows = []
    for (payload, messages), title in titles.items():
        name = f"{payload}_{messages}"
        if f"{name}_bytes_ratio" in measured.names:
            rows.append(
                [
                    title,
                    measured.text(f"raw_{name}_transitions_per_second"),
                    measured.text(f"gate_{name}_transitions_per_second"),
                    measured.text(f"gate_{name}_messages_per_second"),
                    measured.text(f"{name}_bytes_ratio", 2),
                    measured.text(f"raw_{name}_cpu_microseconds", 1),
                    measured.text(f"gate_{name}_cpu_microseconds", 1),
                ]
            )
    columns = [
        "equal messages",
        "raw, transitions/s",
        "gate, transitions/s",
        "gate, messages/s",
        "gate / raw, bytes/s",
        "raw, CPU us",
        "gate, CPU us",
    ]
    return Table("The gate and a raw forwarder", columns, rows)


def user_table(measured: Measured, unavailable: Mapping[str, str]) -> Table:
    """The gate beside the other queues."""
    rows = []
    for queue in (OURS, *PEERS):
        cells = [queue.title]
        for payload in PAYLOADS:
            name = f"user_{queue.name}_{payload}_transitions_per_second"
            times = f"times_{queue.name}_{payload}"
            cells.append(measured.text(name) if name in measured.names else unavailable.get(queue.name, ""))
            cells.append(measured.text(times, 1) if times in measured.names else "")
            cpu = f"user_{queue.name}_{payload}_cpu_microseconds"
            cells.append(measured.text(cpu) if cpu in measured.names else "")
        rows.append(cells)
    columns = ["as a user sees it"]
    columns += [
        f"{game}{what}" for game in ("Atari", "CartPole") for what in (", transitions/s", ": ours is times", ", CPU us")
    ]
    return Table("The gate and other queues", columns, rows)


def note(message: str) -> None:
    """Say what is being measured."""
    say(f"  {message}")
