"""Against peers: steps/s of a training in which each transition is trained once, on Pong with the same trunk.

In every round Headrace and each peer train in turn, alone on the machine. Peers run in the arrangement that was fastest
on two cores of those that were tried (docs/performance.md), the ancestor in its own, each in an environment of its own
that is installed when it is first asked for.
"""

from __future__ import annotations

import argparse

import measurement
import peer_environments
import played
import training
from measurement import Measured, Round, Table
from training import FOREVER

from headrace_proto.lifecycle import run_main

PEERS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "dqn-2015": {
        "stable_baselines3_a2c": ("Stable-Baselines3 A2C, 16 environments, two threads", ["--threads", "2"]),
        "cleanrl_pqn": (
            "PQN as CleanRL has it, one epoch, two threads (own driver)",
            ["--epochs", "1", "--threads", "2"],
        ),
        "rllib_impala": ("RLlib IMPALA, one env runner", []),
    },
    "dqn-2013": {
        "grzego_async_rl": ("Grzego/async-rl, n-step Q-learning, four processes (own driver)", []),
    },
}
"""By the trunk that each has: what it is called in the table, and how its driver is told to run."""


def main() -> None:
    """Measure and report."""
    options = _options()
    for peer in options.peers:
        peer_environments.python(peer)

    def one_round() -> Round:
        ours = headrace_rate(options)
        theirs = {peer: peer_rate(peer, options) for peer in options.peers}
        return summary(ours, theirs)

    measured = measurement.measure(one_round, options)
    precision = played.settings_of(arguments_of(options)).precision  # the peers' is float32
    more = {"network": options.network, "algorithm": options.algorithm, "precision": precision}
    mark = f"against_peers {options.network} {precision}"
    measurement.report("against_peers", [table(measured, options, precision)], measured, options, more, mark)


def headrace_rate(options: argparse.Namespace) -> float:
    """Steps/s of `headrace train`."""
    with training.started([*arguments_of(options), "--steps", FOREVER]) as run:
        return run.window(options.warm_up_steps, options.steps).steps_per_second


def arguments_of(options: argparse.Namespace) -> list[str]:
    """What `headrace train` is told."""
    told = ["--game", "pong", "--network", options.network, "--algorithm", options.algorithm, "--device", "cpu"]
    return [*told, *options.of_train]


def peer_rate(peer: str, options: argparse.Namespace) -> float:
    """Steps/s of a peer."""
    measurement.say(f"  {peer}")
    flags = ["--warm-up-steps", str(options.warm_up_steps), "--steps", str(options.steps)]
    return float(peer_environments.run(peer, [*flags, *PEERS[options.network][peer][1]])["steps_per_second"])


def summary(ours: float, theirs: dict[str, float]) -> Round:
    """What a round measured: rates, and how many times as fast as each peer and as the fastest of them."""
    return {
        "steps_per_second": ours,
        **{f"{peer}_steps_per_second": rate for peer, rate in theirs.items()},
        **{f"times_{peer}": ours / rate for peer, rate in theirs.items()},
        "times_best_peer": ours / max(theirs.values()),
    }


def table(measured: Measured, options: argparse.Namespace, precision: str) -> Table:
    """A row for each system."""
    ours = " ".join([f"Headrace, {options.algorithm} in {precision}", *options.of_train])
    rows = [[ours, measured.text("steps_per_second"), ""]]
    rows += [
        [PEERS[options.network][peer][0], measured.text(f"{peer}_steps_per_second"), measured.text(f"times_{peer}", 2)]
        for peer in options.peers
    ]
    rows += [["the best of them", "", measured.text("times_best_peer", 2)]]
    return Table(f"Training Pong, {options.network}", ["", "env steps/s", "Headrace is times as fast"], rows)


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--network", default="dqn-2015", choices=sorted(PEERS))
    parser.add_argument("--algorithm", default="pqn")
    parser.add_argument("--peers", nargs="+", help="default: all with that network")
    parser.add_argument("--warm-up-steps", type=int, help="steps before it is measured; default 5000, quick 500")
    parser.add_argument("--steps", type=int, help="steps that are measured; default 20000, quick 1000")
    training.add_flags(parser)
    options = parser.parse_args()
    known = PEERS[options.network]
    options.peers = options.peers or list(known)
    if others := sorted(set(options.peers) - known.keys()):
        parser.error(f"--peers {' '.join(others)}: with --network {options.network} there are {', '.join(known)}")
    options.warm_up_steps = options.warm_up_steps or (500 if options.quick else 5_000)
    options.steps = options.steps or (1_000 if options.quick else 20_000)
    return options


if __name__ == "__main__":
    run_main(main)
