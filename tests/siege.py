"""`make siege`: how fast gate, learner and actor train while attacked, and the gate's memory; a line for each attack.

The attacker goes through its attack again and again in a process of its own, on the same machine but at a lower
priority: who gets the processor is not what is measured. Rates are of transitions trained, beside those just before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from hostile_peers import ATTACKS, Target
from separate_services import MOST_RESIDENT_BYTES, Services, ended, peak_resident_bytes

from headrace_proto import keys

LINE = "{:<30} {:>8} {:>8} {:>6} {:>9}  {}"
WITHOUT_KEYS_ONLY = {"endless frames"}
COUNTED = (
    ("gate", "headrace_gate_refused_messages_total", "refused"),
    ("gate", "headrace_gate_rejected_transitions_total", "rejected"),
    ("gate", "headrace_handshake_failures_total", "handshakes"),
    ("gate", "headrace_connections_cut_total", "cut"),
    ("learner", "headrace_connections_cut_total", "cut by the learner"),
)


def main() -> None:
    """Attack after attack; exit status 1 if one takes more than half of the rate, or all too much memory."""
    parser = argparse.ArgumentParser(prog="make siege")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--keys", action="store_true", help="with keys, of which the attacker has an actor's")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.attack is not None:
        attack(chosen.attack, chosen.target)
    else:
        sys.exit(siege(chosen.seconds, chosen.keys))


def siege(seconds: float, with_keys: bool) -> int:
    """Measure, and print a table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys_folder = folder / "keys" if with_keys else None
        if keys_folder is not None:
            keys.make(keys_folder)
        services = Services(folder, stack)
        processes = {role: services.start(role, keys_folder) for role in ("gate", "learner", "actor")}
        services.trains_on(2000)
        print(LINE.format("attack", "before/s", "under/s", "ratio", "gate MiB", "counted"), flush=True)
        ratios = [
            measured(name, services, keys_folder, seconds)
            for name in ATTACKS
            if not (with_keys and name in WITHOUT_KEYS_ONLY)
        ]
        peaks = {role: peak_resident_bytes(processes[role]) for role in MOST_RESIDENT_BYTES}
    for role, most in MOST_RESIDENT_BYTES.items():
        print(f"{role}: {peaks[role] / 1024**2:.0f} MiB at most, {most / 1024**2:.0f} are allowed", flush=True)
    return int(min(ratios) < 0.5 or any(peaks[role] > most for role, most in MOST_RESIDENT_BYTES.items()))


def measured(name: str, services: Services, keys_folder: Path | None, seconds: float) -> float:
    """One attack; returns what it leaves of the rate."""
    services.trains_on()
    before, _ = rate(services, seconds)
    counted = counts(services)
    target = json.dumps([services.addresses, None if keys_folder is None else str(keys_folder)])
    command = ["nice", "-n", "19", sys.executable, "-m", "siege", "--attack", name, "--target", target]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)) as attacker:
        assert attacker.stdout is not None
        attacker.stdout.readline()  # it has been through its attack once
        under, resident = rate(services, seconds)
        assert attacker.poll() is None, f"{name}: the attacker has given up"
    told = ", ".join(f"{what} {count:,}" for what, count in (counts(services) - counted).items())
    print(LINE.format(name, round(before), round(under), f"{under / before:.2f}", round(resident), told), flush=True)
    return under / before


def rate(services: Services, seconds: float) -> tuple[float, float]:
    """Transitions trained a second, and the most memory in MiB that the gate was seen to take."""
    began, trained, resident = time.monotonic(), services.trained(), 0.0
    while time.monotonic() < began + seconds:
        resident = max(resident, services.value("gate", "process_resident_memory_bytes"))
        time.sleep(0.2)
    return (services.trained() - trained) / (time.monotonic() - began), resident / 1024**2


def counts(services: Services) -> Counter[str]:
    """Offences by what became of them and why."""
    found: Counter[str] = Counter()
    for role, name, what in COUNTED:
        for sample in services.samples(role):
            if sample.name == name:
                found[f"{what} {sample.labels['reason']}"] += round(sample.value)
    return found


def attack(name: str, target: str) -> None:
    """Be the attacker, until killed."""
    addresses, keys_folder = json.loads(target)
    made = Target(addresses, None if keys_folder is None else Path(keys_folder))
    for times in count():
        ATTACKS[name](made)
        if times == 0:
            print("once", flush=True)
        if made.held:
            time.sleep(8)  # longer than a handshake may take
            made.let_go()


if __name__ == "__main__":
    main()
