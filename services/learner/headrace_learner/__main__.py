"""`headrace-learner`: train, `evaluate`, `play` or `evaluator`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from headrace_proto.lifecycle import run_main


def main() -> None:
    """Run the command of the process's arguments and exit."""
    run_main(lambda: _run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> None:
    # OpenMP reads its number of threads when torch is imported, so that is known before.
    os.environ["OMP_NUM_THREADS"] = _threads(arguments)
    match list(arguments):
        case ["evaluate", *rest]:
            from headrace_learner import evaluation

            evaluation.main(rest)
        case ["play", *rest]:
            from headrace_learner import playing

            playing.main(rest)
        case ["evaluator", *rest]:
            os.environ["OMP_NUM_THREADS"] = "1"
            from headrace_learner import evaluator

            evaluator.main(rest)
        case _:
            from headrace_learner import start

            start.main(arguments)


def _threads(arguments: Sequence[str]) -> str:
    """The value of --learner-threads; the settings check it later."""
    words = " ".join(arguments).replace("--learner-threads=", "--learner-threads ").split()
    if "--learner-threads" in words[:-1]:
        return words[words.index("--learner-threads") + 1]
    return os.environ.get("HEADRACE_LEARNER_THREADS", "1")


if __name__ == "__main__":
    main()
