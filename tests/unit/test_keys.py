"""Key files: made once, told to every role, rotated in two steps, and never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq

from headrace_proto import key_command, keys
from headrace_proto.errors import UserError
from headrace_proto.keys import ROLES, Keyring, Role


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    keys.make(made)
    return made


def test_each_role_gets_a_pair_of_its_own_and_everybodys_public_keys(folder: Path) -> None:
    pairs = {role: Keyring(folder, role).pair() for role in ROLES}

    assert len({pair.secret for pair in pairs.values()}) == len(ROLES)
    for holder in ROLES:
        assert [Keyring(folder, holder).current(role) for role in ROLES] == [pairs[role].public for role in ROLES]
    for role, pair in pairs.items():
        assert zmq.curve_public(pair.secret) == pair.public, role


def test_nobody_else_may_read_a_secret(folder: Path) -> None:
    for role in ROLES:
        assert stat.S_IMODE((folder / role).stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / role / "secret.key").stat().st_mode) == 0o400


def test_a_role_needs_only_its_own_folder(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "actor").rename(elsewhere / "actor")

    assert Keyring(elsewhere, "actor").accepted(["gate", "learner"])


def test_making_keys_again_changes_none(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert keys.make(folder) == []

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_making_keys_makes_those_that_are_missing(folder: Path) -> None:
    gate = Keyring(folder, "gate").pair()
    (folder / "actor" / "secret.key").unlink()

    assert keys.make(folder) == ["actor"]

    assert Keyring(folder, "gate").pair() == gate
    assert Keyring(folder, "gate").current("actor") == Keyring(folder, "actor").pair().public


@pytest.mark.parametrize("role", ROLES)
def test_a_rotated_key_is_current_and_the_old_one_is_accepted_until_it_is_retired(folder: Path, role: Role) -> None:
    others = [Keyring(folder, other) for other in ROLES]
    old = Keyring(folder, role).pair().public

    keys.rotate(folder, [role])
    new = Keyring(folder, role).pair().public
    assert new != old
    for keyring in others:
        assert keyring.current(role) == new
        assert keyring.accepted([role]) == {new, old}

    keys.retire(folder, [role])
    for keyring in others:
        assert keyring.accepted([role]) == {new}


def test_a_rotation_that_was_interrupted_is_finished_by_making_keys(folder: Path) -> None:
    old = Keyring(folder, "gate").pair().public
    public, secret = zmq.curve_keypair()
    (folder / "gate" / "secret.key").unlink()
    (folder / "gate" / "secret.key").write_bytes(secret)

    keys.make(folder)

    assert Keyring(folder, "actor").current("gate") == public
    assert Keyring(folder, "actor").accepted(["gate"]) == {public, old}


def test_a_retirement_that_was_interrupted_is_finished_by_making_keys(folder: Path) -> None:
    old = Keyring(folder, "actor").pair().public
    keys.rotate(folder, ["actor"])
    before = (folder / "gate" / "actor.pub").read_bytes()
    keys.retire(folder, ["actor"])
    for holder in ("gate", "learner"):  # those that it had not come to
        (folder / holder / "actor.pub").unlink()
        (folder / holder / "actor.pub").write_bytes(before)

    keys.make(folder)

    assert old not in Keyring(folder, "gate").accepted(["actor"])


def test_a_missing_file_is_named_with_what_to_do(folder: Path) -> None:
    (folder / "actor" / "gate.pub").unlink()

    with pytest.raises(UserError, match=r"actor/gate\.pub is missing; make keys with `headrace keys make --keys"):
        Keyring(folder, "actor")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 39 + b"~", b"a" * 40 + b"\nb"])
def test_a_damaged_file_is_named_with_what_is_allowed(folder: Path, content: bytes) -> None:
    path = folder / "learner" / "secret.key"
    path.unlink()
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"learner/secret\.key is damaged; allowed: keys of 40 characters in Z85"):
        Keyring(folder, "learner")


def test_a_file_that_cannot_be_read_is_named_with_what_to_do(folder: Path) -> None:
    path = folder / "learner" / "gate.pub"
    path.unlink()
    path.mkdir()

    with pytest.raises(
        UserError, match=r"cannot read .*learner/gate\.pub: Is a directory; let the service's user read"
    ):
        Keyring(folder, "learner")


def test_rotating_keys_that_were_never_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gate/gate\.pub is missing"):
        keys.rotate(tmp_path, ROLES)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"cannot write .*gate/secret\.key: Not a directory"):
        keys.make(tmp_path / "file")


def test_a_pair_does_not_print_its_secret(folder: Path) -> None:
    pair = Keyring(folder, "gate").pair()

    assert pair.secret.decode() not in repr(pair)


def test_the_command_shows_which_keys_count_and_no_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_command.run(["rotate", "--role", "actor", "--keys", str(folder)])
    capsys.readouterr()
    key_command.run(["show", "--keys", str(folder)])

    shown = capsys.readouterr().out
    lines = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert [(role, text) for role, _, text in lines] == [
        ("gate", "current"),
        ("learner", "current"),
        ("actor", "current"),
        ("actor", "accepted until retired"),
    ]
    for role in ROLES:
        pair = Keyring(folder, role).pair()
        assert pair.public.decode() in shown
        assert pair.secret.decode() not in shown


def test_the_command_names_what_it_allows() -> None:
    with pytest.raises(UserError, match="keys mak: no such command; allowed: make, show, rotate, retire"):
        key_command.run(["mak"])
    with pytest.raises(UserError, match="--role"):
        key_command.run(["show", "--role", "players"])
