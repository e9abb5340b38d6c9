"""The flags of Grzego/async-rl in today's names, so that its command lines still run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_TRAIN = {
    "--processes": "--actors",
    "--checkpoint": "--resume",
    "--lr": "--learning-rate",
    "--swap-freq": "--publish-every",
    "--save-freq": "--save-every",
    "--eps-decay": "--epsilon-decay-steps",
    "--lr-decay": "--learning-rate-decay-steps",
    "--queue-size": "--capacity",
}
_PLAY = {"--model": "--checkpoint", "--eps": "--epsilon"}
_RENAMED = {"train": _TRAIN, "evaluate": _PLAY, "play": _PLAY}

_THEANO_FLAG = "--th-comp-fix"

_N_STEP_FLAG = "--n_step"
"""As the ancestor spells it, whose only algorithm was n-step Q-learning; today's default takes no n."""


@dataclass(frozen=True, slots=True)
class Translated:
    """Arguments in today's names, and a line for each flag that does something else now."""

    arguments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def translate(command: str, arguments: Sequence[str]) -> Translated:
    """The arguments of a command with underscores in flags as hyphens and the ancestor's names as today's."""
    translated = Translated()
    position = 0
    while position < len(arguments):
        flag, equals, value = arguments[position].partition("=")
        position += 1
        if not flag.startswith("--"):
            translated.arguments.append(flag + equals + value)
            continue
        flag = flag.replace("_", "-")
        separate = position < len(arguments) and not arguments[position].startswith("--") and not equals
        if flag == _THEANO_FLAG:
            translated.notes.append("--th_comp_fix is accepted and ignored: Headrace does not use Theano")
            position += separate
        elif command == "train" and flag == "--checkpoint" and (arguments[position] if separate else value) == "0":
            position += separate  # the ancestor's default: start from nothing
        else:
            translated.arguments.append(_RENAMED.get(command, {}).get(flag, flag) + equals + value)
    spelled = {argument.partition("=")[0] for argument in arguments}
    if command == "train" and _N_STEP_FLAG in spelled and not spelled & {"--algorithm", "--preset", "--resume"}:
        translated.arguments.append("--algorithm=nstep-q")
        translated.notes.append("--n_step is of n-step Q-learning: --algorithm nstep-q is added")
    return translated
