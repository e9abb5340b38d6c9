"""Policy lag and age of what is trained at full speed, for several capacities, against steps/s.

Capacity 64 holds no batch of the default size, so all capacities are measured with small batches, and those that can
with the default ones too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ages
import measurement
import numpy as np
import observed_service
import staleness_figure
from ages import Observed
from local_run import LocalRun
from measurement import Measured, Round, Table

from headrace_learner import policy_lag
from headrace_local import cores
from headrace_local.launch import short_temporary_folder
from headrace_proto.errors import HeadraceError
from headrace_proto.lifecycle import run_main
from headrace_proto.messages import SESSION_BYTES, BatchHeader
from headrace_proto.settings import TrainSettings

SMALL_BATCHES = ("--batch-size=32", "--minibatches=1", "--environments-per-actor=4")
"""The largest batch with a round of two actors' environments that capacity 64 can hold: 31 + 4 x 8 = 63."""

STEPS_THAT_NEVER_END = "--steps=1000000000"


@dataclass(frozen=True, slots=True)
class Setting:
    """A capacity and the arguments that go with it."""

    capacity: int
    has_small_batches: bool

    @property
    def name(self) -> str:
        """As names in the JSON end."""
        return f"capacity_{self.capacity}" + ("_small_batches" if self.has_small_batches else "")

    @property
    def title(self) -> str:
        """As a reader sees it."""
        return f"{self.capacity:,}, batches of {32 if self.has_small_batches else 128}"

    @property
    def arguments(self) -> list[str]:
        """Of `headrace train`."""
        return [f"--capacity={self.capacity}", *(SMALL_BATCHES if self.has_small_batches else ())]


class BoundBrokenError(HeadraceError):
    """A transition was trained that was older than the formula allows."""


def settings_of(capacities: Sequence[int], least_for_default_batches: int) -> list[Setting]:
    """Every capacity with small batches, then those that hold a default batch with these."""
    small = [Setting(capacity, True) for capacity in capacities]
    return small + [Setting(capacity, False) for capacity in capacities if capacity >= least_for_default_batches]


def bound_of(settings: TrainSettings) -> int:
    """The largest lag by the formula, in updates."""
    nobody = bytes(SESSION_BYTES)
    greeting = BatchHeader(
        gate=nobody,
        learner=nobody,
        generation=1,
        batch=0,
        rollouts=0,
        count=0,
        version=0,
        capacity=settings.capacity,
        straggler_updates=settings.straggler_updates,
    )
    return policy_lag.bound(settings, greeting)


def numbers(setting: Setting, observed: Observed, bound: int, steps_per_second: float) -> dict[str, float]:
    """What a round says of a setting; raises BoundBrokenError."""
    name, lags, seconds = setting.name, observed.lags, observed.ages
    if lags.max() > bound:
        raise BoundBrokenError(f"capacity {setting.capacity}: a lag of {lags.max()} updates, the bound is {bound}")
    return {
        f"{name}_steps_per_second": steps_per_second,
        f"{name}_lag_mean": float(lags.mean()),
        f"{name}_lag_95": float(np.quantile(lags, 0.95)),
        f"{name}_lag_max": float(lags.max()),
        f"{name}_lag_bound": float(bound),
        f"{name}_age_median": float(np.median(seconds)),
        f"{name}_age_95": float(np.quantile(seconds, 0.95)),
        f"{name}_age_max": float(seconds.max()),
    }


def table(measured: Measured, settings: Sequence[Setting]) -> Table:
    """A row for each setting."""
    rows = [
        [
            setting.title,
            measured.text(f"{setting.name}_steps_per_second"),
            measured.text(f"{setting.name}_lag_mean", 1),
            measured.text(f"{setting.name}_lag_95"),
            f"{max(measured.values(f'{setting.name}_lag_max')):.0f}",
            f"{measured.median(f'{setting.name}_lag_bound'):.0f}",
            measured.text(f"{setting.name}_age_median", 2),
            measured.text(f"{setting.name}_age_95", 2),
        ]
        for setting in settings
        if f"{setting.name}_steps_per_second" in measured.names
    ]
    columns = [
        "capacity",
        "steps/s",
        "lag, mean",
        "95 %",
        "largest",
        "bound",
        "age in s, median",
        "95 %",
    ]
    return Table("Staleness and throughput", columns, rows)


def _measure(setting: Setting, options: argparse.Namespace) -> tuple[Observed, int, float]:
    measurement.say(f"  capacity {setting.title}")
    with short_temporary_folder() as folder:
        files = {
            "learner": Path(folder) / "learner.jsonl",
            **{f"actor-{index}": Path(folder) / f"actor-{index}.jsonl" for index in range(options.actors)},
        }
        commands = {
            name: (sys.executable, observed_service.__file__, name.partition("-")[0], str(path))
            for name, path in files.items()
        }
        arguments = [f"--game={options.game}", STEPS_THAT_NEVER_END, *setting.arguments]
        with LocalRun(arguments, options.actors, cores.usable_cores(), commands) as run:
            run.have_actors(options.actors)
            time.sleep(options.warm_up)
            began, steps = time.monotonic(), run.env_steps()
            time.sleep(options.seconds)
            ended = time.monotonic()
            steps_per_second = (run.env_steps() - steps) / (ended - began)
            bound = bound_of(run.settings)
        observed = ages.read(files["learner"], [path for name, path in files.items() if name != "learner"])
    return observed.between(began, ended), bound, steps_per_second


def main() -> None:
    """Measure and report."""
    options = _options()
    settings = settings_of(options.capacities, least_for_default_batches=191)
    pooled: dict[str, list[Observed]] = {setting.name: [] for setting in settings}
    bounds: dict[str, int] = {}

    def one_round() -> Round:
        values: dict[str, float] = {}
        for setting in settings:
            observed, bounds[setting.name], rate = _measure(setting, options)
            pooled[setting.name].append(observed)
            values |= numbers(setting, observed, bounds[setting.name], rate)
        return values

    measured = measurement.measure(one_round, options)
    if options.figure is not None:
        curves = [
            staleness_figure.Curve(
                title=setting.title,
                observed=ages.joined(pooled[setting.name]),
                bound=bounds[setting.name],
                steps_per_second=measured.median(f"{setting.name}_steps_per_second"),
            )
            for setting in settings
        ]
        staleness_figure.save(options.figure, curves)
    distributions = {name: ages.joined(observed).quantiles() for name, observed in pooled.items()}
    measurement.report("staleness", [table(measured, settings)], measured, options, {"distributions": distributions})


def _options() -> argparse.Namespace:
    parser = measurement.parser(__doc__)
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--capacities", type=_capacities, default=[64, 256, 1024], help="separated by commas")
    parser.add_argument("--warm-up", type=float, help="seconds before each measurement; default 10")
    parser.add_argument("--seconds", type=float, help="of each measurement; default 20")
    parser.add_argument("--figure", type=Path, help="a PNG to draw the distributions into")
    options = parser.parse_args()
    if options.warm_up is None:
        options.warm_up = 1.0 if options.quick else 10.0
    if options.seconds is None:
        options.seconds = 3.0 if options.quick else 20.0
    return options


def _capacities(text: str) -> list[int]:
    capacities = [int(capacity) for capacity in text.split(",")]
    if min(capacities) < 63:
        raise argparse.ArgumentTypeError(f"{text}: allowed: capacities of at least 63")
    return capacities


if __name__ == "__main__":
    run_main(main)
