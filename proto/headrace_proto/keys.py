"""CURVE keys as files: who holds which, who is accepted, and how they are made and changed.

One folder holds a folder for each role, and a service reads only its own:

    keys/actor/secret.key    the role's own secret key, in Z85, mode 0400
    keys/actor/gate.pub      public keys of a role, in Z85, one a line: the first is the current one, the others are
    keys/actor/learner.pub   accepted still, for peers that have not been restarted since a rotation
    keys/actor/actor.pub
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import zmq

from headrace_proto.errors import UserError

Role = Literal["gate", "learner", "actor"]
ROLES: tuple[Role, ...] = get_args(Role)

SECRET_FILE = "secret.key"  # noqa: S105 the name of a file
Z85_LENGTH = 40
Z85_ALPHABET = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85; the secret is kept out of logs."""

    public: bytes
    secret: bytes = field(repr=False)


class Keyring:
    """What one role may know: its own pair, and everybody's public keys. Files are read at every call.

    So keys that are changed on disk count from the next handshake on.
    """

    def __init__(self, folder: Path, role: Role) -> None:
        """Raises UserError if a file of the role is missing or malformed."""
        self._root = folder
        self._folder = folder / role
        self.role = role
        self.pair()
        self.accepted(ROLES)

    def pair(self) -> KeyPair:
        """The role's own keys; raises UserError."""
        secret = _read_keys(self._root, self._folder / SECRET_FILE)[0]
        return KeyPair(zmq.curve_public(secret), secret)

    def current(self, role: Role) -> bytes:
        """The public key that a server of a role has now; raises UserError."""
        return _read_keys(self._root, self._folder / public_file(role))[0]

    def accepted(self, roles: Iterable[Role]) -> frozenset[bytes]:
        """Every public key that is accepted from clients of these roles; raises UserError."""
        return frozenset(key for role in roles for key in _read_keys(self._root, self._folder / public_file(role)))


def make(folder: Path) -> list[Role]:
    """Make the keys of every role that has none, tell all roles, and return the roles that are new.

    Never changes a key that is there, and finishes a rotation or retirement that was interrupted. Raises UserError.
    """
    made = [role for role in ROLES if not (folder / role / SECRET_FILE).exists()]
    for role in made:
        _write_secret(folder, role)
    _publish(folder, {role: _known_keys(folder, role) for role in ROLES})
    return made


def rotate(folder: Path, roles: Iterable[Role]) -> None:
    """Give roles new keys; their old public keys stay accepted. Raises UserError where there are no keys yet."""
    known = {role: public_keys(folder, role) for role in ROLES}
    for role in roles:
        new = _write_secret(folder, role)
        known[role] = [new.public, *known[role]]
    _publish(folder, known)


def retire(folder: Path, roles: Iterable[Role]) -> None:
    """Accept only the current key of each of these roles from now on. Raises UserError."""
    known = {role: public_keys(folder, role) for role in ROLES}
    _publish(folder, known | {role: known[role][:1] for role in roles})


def public_keys(folder: Path, role: Role) -> list[bytes]:
    """A role's public keys in its own folder, the current one first; raises UserError."""
    return _read_keys(folder, folder / role / public_file(role))


def _known_keys(folder: Path, role: Role) -> list[bytes]:
    """The public keys of a role with the one of its secret in front, where an interrupted rotation left another."""
    current = zmq.curve_public(_read_keys(folder, folder / role / SECRET_FILE)[0])
    path = folder / role / public_file(role)
    older = _read_keys(folder, path) if path.exists() else []
    return [current, *(key for key in older if key != current)]


def _publish(folder: Path, known: dict[Role, list[bytes]]) -> None:
    # A role's own folder first: where this is interrupted, `make` goes on from there.
    for role, keys in known.items():
        _write(folder / role / public_file(role), keys, 0o444)
    for holder in ROLES:
        for role, keys in known.items():
            _write(folder / holder / public_file(role), keys, 0o444)


def _write_secret(folder: Path, role: Role) -> KeyPair:
    public, secret = zmq.curve_keypair()
    _write(folder / role / SECRET_FILE, [secret], 0o400)
    return KeyPair(public, secret)


def _write(path: Path, keys: list[bytes], mode: int) -> None:
    """Write keys whole or not at all, readable to nobody else at any moment; raises UserError."""
    content = b"".join(key + b"\n" for key in keys)
    partial = path.with_name(path.name + ".partial")
    try:
        if path.exists() and path.read_bytes() == content:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"--keys: cannot write {path}: {error.strerror}; choose a folder that you may write to"
        ) from error


def _read_keys(root: Path, path: Path) -> list[bytes]:
    try:
        keys = path.read_bytes().split()
    except FileNotFoundError:
        raise UserError(
            f"--keys {root}: {path} is missing; make keys with `headrace keys make --keys {root}`, or copy the folder "
            f"{path.parent.name} from where they were made"
        ) from None
    except OSError as error:
        raise UserError(
            f"--keys {root}: cannot read {path}: {error.strerror}; let the service's user read it (each "
            "role reads the folder of its own name), or choose another folder"
        ) from error
    if not keys or any(len(key) != Z85_LENGTH or not Z85_ALPHABET.issuperset(key) for key in keys):
        raise UserError(
            f"--keys {root}: {path} is damaged; allowed: keys of {Z85_LENGTH} characters in Z85, one a line: copy the "
            f"folder {path.parent.name} again from where the keys were made"
        )
    return keys


def public_file(role: Role) -> str:
    """Name of the file of a role's public keys."""
    return f"{role}.pub"
