"""`headrace train|evaluate|play|compare|keys`: finds the command and hands it its arguments in today's names."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from headrace_local import ancestor_flags
from headrace_proto import __version__
from headrace_proto.errors import UserError

HELP = """\
usage: headrace COMMAND [flags]

commands:
  train     train an agent: gate, learner and actors as processes of this machine
  evaluate  play games with a checkpoint and print the scores
  play      watch a checkpoint play, or record it as a video
  compare   curves of several runs with confidence over seeds, as a picture and a table
  keys      make, show, rotate and retire the keys of services on several machines

`headrace COMMAND --help` lists the flags of a command. Every flag --like-this can also be
given as an environment variable HEADRACE_LIKE_THIS.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name and return its exit status."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
    if command in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if command == "--version":
        print(f"headrace {__version__}")
        return 0
    if command not in _COMMANDS:
        raise UserError(f"{command}: {_suggestion(command)}")
    translated = ancestor_flags.translate(command, rest)
    for note in translated.notes:
        print(f"note: {note}", file=sys.stderr)
    return _COMMANDS[command](translated.arguments)


# Each command's module is imported when it is asked for: torch alone takes seconds, which `--help` need not wait for.


def _train(arguments: Sequence[str]) -> int:
    from headrace_local import train

    return train.main(arguments)


def _evaluate(arguments: Sequence[str]) -> int:
    from headrace_learner import evaluation

    evaluation.main(arguments)
    return 0


def _play(arguments: Sequence[str]) -> int:
    from headrace_learner import playing

    playing.main(arguments)
    return 0


def _compare(arguments: Sequence[str]) -> int:
    from headrace_local import compare

    compare.main(arguments)
    return 0


def _keys(arguments: Sequence[str]) -> int:
    from headrace_proto import key_command

    key_command.run(arguments)
    return 0


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "play": _play,
    "compare": _compare,
    "keys": _keys,
}


def _suggestion(command: str) -> str:
    near = difflib.get_close_matches(command, _COMMANDS, n=1)
    if near:
        return f"no such command; did you mean `headrace {near[0]}`?"
    return f"no such command; allowed: {', '.join(_COMMANDS)}"
