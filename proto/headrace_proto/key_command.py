"""`headrace-keys`, and `headrace keys`: make, show, rotate and retire the CURVE keys of a deployment."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from headrace_proto import key_secrets, keys
from headrace_proto.arguments import parse
from headrace_proto.errors import UserError
from headrace_proto.keys import ROLES, Role
from headrace_proto.lifecycle import run_main
from headrace_proto.settings import KeysSettings

HELP = """\
usage: headrace keys make|show|rotate|retire [--keys DIR] [--role gate|learner|actor|all] [--kubernetes]

  make     make the keys that are missing; changes none that are there
  show     print the public keys; never a secret one
  rotate   give roles new keys; the old ones are accepted still
  retire   accept the old ones no longer

DIR (default: keys) gets a folder for each role; a service needs only its own.
A role uses its new key from its next start on, and the other services follow by
themselves: after `rotate`, restart the services of that role, then retire the old key.

With --kubernetes each command prints the Secrets of all roles, secret keys and all, in
place of what it prints otherwise; without a command it makes what is missing, like make:
  headrace keys --kubernetes | kubectl apply --namespace headrace -f -
"""


def main() -> None:
    """Run the command of the process's arguments and exit."""
    run_main(lambda: run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> None:
    """Run one command; raises UserError."""
    action, rest = (arguments[0], arguments[1:]) if arguments else ("--help", ())
    if "--kubernetes" in arguments and action.startswith("--"):
        action, rest = "make", arguments
    if action in ("-h", "--help", "help") or "--help" in rest:
        print(HELP, end="")
        return
    if action not in _ACTIONS:
        raise UserError(f"keys {action}: no such command; allowed: {', '.join(_ACTIONS)}")
    settings = parse(KeysSettings, rest, "headrace keys")
    if settings.kubernetes:
        with contextlib.redirect_stdout(sys.stderr):
            _ACTIONS[action](settings)
        print(key_secrets.manifests(settings.keys), end="")
    else:
        _ACTIONS[action](settings)


def _make(settings: KeysSettings) -> None:
    made = keys.make(settings.keys)
    print(f"{settings.keys}: made keys of {', '.join(made)}" if made else f"{settings.keys}: all keys are there")


def _show(settings: KeysSettings) -> None:
    for role in _roles(settings):
        if settings.role == "all" and not (settings.keys / role).exists():
            continue
        current, *older = keys.public_keys(settings.keys, role)
        print(f"{role:8} {current.decode()}  current")
        for key in older:
            print(f"{role:8} {key.decode()}  accepted until retired")


def _rotate(settings: KeysSettings) -> None:
    keys.rotate(settings.keys, _roles(settings))
    _show(settings)


def _retire(settings: KeysSettings) -> None:
    keys.retire(settings.keys, _roles(settings))
    _show(settings)


def _roles(settings: KeysSettings) -> tuple[Role, ...]:
    return ROLES if settings.role == "all" else (settings.role,)


_ACTIONS: dict[str, Callable[[KeysSettings], None]] = {
    "make": _make,
    "show": _show,
    "rotate": _rotate,
    "retire": _retire,
}

if __name__ == "__main__":
    main()
