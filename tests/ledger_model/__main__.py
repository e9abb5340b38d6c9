"""`make prove`: explores the large worlds and prints what was seen, a line for each."""

from __future__ import annotations

import sys
import time

from ledger_model.explorer import explore
from ledger_model.sizes import LARGE, QUICK
from ledger_model.world import World

LINE = "{:<38} {:>9} {:>11} {:>6} {:>9} {:>8}"


def main() -> None:
    """Exits with status 1 and the shortest trace if something does not hold."""
    print(LINE.format("world", "states", "transitions", "depth", "to train", "seconds"))
    for name, size in (QUICK | LARGE).items():
        began = time.monotonic()
        seen = explore(World(size))
        seconds = round(time.monotonic() - began)
        print(LINE.format(name, seen.states, seen.transitions, seen.depth, seen.steps_to_training, seconds), flush=True)
        if seen.violation is not None:
            sys.exit(str(seen.violation))


if __name__ == "__main__":
    main()
