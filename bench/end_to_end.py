"""End to end: env steps/s while training every transition once, as a share of what the cores could compute.

In every round the parts are measured alone (`parts.py`), then `headrace train` runs with the default services of this
machine and is watched for a number of steps after it has warmed up, then the parts are measured again. The bound is

    cores / (t_environment + t_inference + t_training)

with the mean of both measurements: what the cores would do if nothing were lost between the parts. The parts run with
the rest of the machine idle. A second bound takes them with a copy on every core, which is how they run in training:
what it is lower by is what cores take from each other (caches, memory, clock), whoever programs them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import measurement
import parts
import played
import training
from measurement import Measured, Round, Table
from parts import PARTS
from training import COMMAND, FOREVER, Window

from headrace_local import cores
from headrace_proto.lifecycle import run_main

MICROSECONDS = 1e6
ROLES = ("actor", "learner", "gate", COMMAND)


def main() -> None:
    """Measure and report."""
    options = _options()
    arguments = arguments_of(options)
    # Read when torch is imported, which the pool's processes do: one thread each, as actors and learner have.
    os.environ["OMP_NUM_THREADS"] = "1"
    usable = sorted(os.sched_getaffinity(0))[: cores.usable_cores()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(usable), mp_context=spawn) as pool:

        def one_round() -> Round:
            before = parts_alone(pool, arguments, options.part_seconds, usable)
            with training.started([*arguments, "--steps", FOREVER]) as run:
                window = run.window(options.warm_up_steps, options.steps)
            after = parts_alone(pool, arguments, options.part_seconds, usable)
            together = parts_together(pool, arguments, options.part_seconds, usable)
            alone = {part: (before[part] + after[part]) / 2 for part in PARTS}
            return summary(alone, together, window, len(usable))

        measured = measurement.measure(one_round, options)
    precision = played.settings_of(arguments).precision
    table = [rate_table(measured, options.network, precision), cost_table(measured)]
    more = {
        "network": options.network,
        "algorithm": options.algorithm,
        "precision": precision,
        "cores": len(usable),
    }
    mark = f"end_to_end {options.network} {precision}"
    measurement.report("end_to_end", table, measured, options, more, mark)


def arguments_of(options: argparse.Namespace) -> list[str]:
    """What `headrace train` is told."""
    told = {"game": options.game, "network": options.network, "algorithm": options.algorithm, "device": "cpu"}
    return [*(word for name, value in told.items() for word in (f"--{name}", value)), *options.of_train]


def parts_alone(
    pool: ProcessPoolExecutor, arguments: list[str], seconds: float, usable: Sequence[int]
) -> dict[str, float]:
    """Seconds for a transition of each part on one core, while this benchmark leaves the others idle."""
    return pool.submit(parts.measure, arguments, seconds, usable[-1]).result()


def parts_together(
    pool: ProcessPoolExecutor, arguments: list[str], seconds: float, usable: Sequence[int]
) -> dict[str, float]:
    """The same with a copy on every core; the mean over them."""
    measured = list(pool.map(parts.measure, *zip(*((arguments, seconds, core) for core in usable), strict=True)))
    return {part: sum(values[part] for values in measured) / len(measured) for part in PARTS}


def bound(seconds: dict[str, float], cores_used: int) -> float:
    """Steps/s of so many cores if nothing were lost between the parts."""
    return cores_used / sum(seconds[part] for part in PARTS)


def summary(alone: dict[str, float], together: dict[str, float], window: Window, cores_used: int) -> Round:
    """What a round measured, in steps/s, in shares of the bounds, and in microseconds for a step."""
    rate = window.steps_per_second
    used = {role: window.cpu_seconds_for_a_step(role) for role in ROLES}
    return {
        "efficiency": rate / bound(alone, cores_used),
        "steps_per_second": rate,
        "bound_steps_per_second": bound(alone, cores_used),
        "efficiency_all_cores": rate / bound(together, cores_used),
        "bound_all_cores_steps_per_second": bound(together, cores_used),
        **{f"{part}_microseconds": alone[part] * MICROSECONDS for part in PARTS},
        **{f"{part}_all_cores_microseconds": together[part] * MICROSECONDS for part in PARTS},
        **{f"{role}_cpu_microseconds": used[role] * MICROSECONDS for role in ROLES},
        "unused_microseconds": (cores_used / rate - sum(used.values())) * MICROSECONDS,
    }


def rate_table(measured: Measured, network: str, precision: str) -> Table:
    """Steps/s against the bounds."""
    rows = [
        ["headrace train", measured.text("steps_per_second"), ""],
        ["bound, parts alone", measured.text("bound_steps_per_second"), measured.text("efficiency", 3)],
        [
            "bound, parts on all cores at once",
            measured.text("bound_all_cores_steps_per_second"),
            measured.text("efficiency_all_cores", 3),
        ],
    ]
    return Table(f"End to end, {network} in {precision}", ["", "env steps/s", "share reached"], rows)


def cost_table(measured: Measured) -> Table:
    """Where the cores' time goes, for one step."""
    alone = [
        [f"{part} alone", measured.text(f"{part}_microseconds"), measured.text(f"{part}_all_cores_microseconds")]
        for part in PARTS
    ]
    used = [
        [f"{'headrace train' if role == COMMAND else role + 's' * (role == 'actor')}, CPU time", "", text]
        for role in ROLES
        for text in [measured.text(f"{role}_cpu_microseconds")]
    ]
    rest = ["idle, or taken by other work", "", measured.text("unused_microseconds")]
    return Table("Microseconds of a core for one step", ["", "one core busy", "all cores busy"], [*alone, *used, rest])


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="pong")
    parser.add_argument("--network", default="dqn-2013", choices=["dqn-2013", "dqn-2015", "mlp"])
    parser.add_argument("--algorithm", default="pqn")
    parser.add_argument("--warm-up-steps", type=int, help="steps before it is measured; default 5000, quick 500")
    parser.add_argument("--steps", type=int, help="steps that are measured; default 30000, quick 1000")
    parser.add_argument("--part-seconds", type=float, help="how long a part is measured; default 3, quick 0.3")
    training.add_flags(parser)
    options = parser.parse_args()
    options.warm_up_steps = options.warm_up_steps or (500 if options.quick else 5_000)
    options.steps = options.steps or (1_000 if options.quick else 30_000)
    options.part_seconds = options.part_seconds or (0.3 if options.quick else 3.0)
    return options


if __name__ == "__main__":
    run_main(main)
