"""Keys as Kubernetes Secrets: just the files of each role, ready to apply, and printed only where asked for."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace_proto import key_command, keys
from headrace_proto.errors import UserError
from headrace_proto.keys import ROLES, Keyring


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    key_command.run(arguments)
    secrets = {each["metadata"]["name"]: each for each in yaml.safe_load_all(capsys.readouterr().out) if each}
    assert {(each["apiVersion"], each["kind"], each["type"]) for each in secrets.values()} == {
        ("v1", "Secret", "Opaque")
    }
    return secrets


def unpack(secrets: dict[str, Any], folder: Path) -> None:
    """Write each Secret as a pod sees it, mounted."""
    for role in ROLES:
        (folder / role).mkdir(parents=True)
        for name, value in secrets[f"headrace-{role}-keys"]["data"].items():
            (folder / role / name).write_bytes(base64.b64decode(value))


def test_keys_are_made_and_printed_as_a_secret_for_each_role(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = printed(capsys, "--kubernetes", "--keys", str(tmp_path / "keys"))

    assert set(secrets) == {"headrace-gate-keys", "headrace-learner-keys", "headrace-actor-keys"}
    unpack(secrets, tmp_path / "mounted")
    for role in ROLES:
        mounted, made = Keyring(tmp_path / "mounted", role), Keyring(tmp_path / "keys", role)
        assert mounted.pair() == made.pair()
        assert [mounted.current(other) for other in ROLES] == [made.current(other) for other in ROLES]


def test_no_secret_has_another_roles_secret_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secrets = printed(capsys, "--kubernetes", "--keys", str(tmp_path))
    for role in ROLES:
        held = b"".join(base64.b64decode(value) for value in secrets[f"headrace-{role}-keys"]["data"].values())
        others = [Keyring(tmp_path, other).pair().secret for other in ROLES if other != role]
        assert not any(secret in held for secret in others)


def test_printing_again_changes_nothing_and_a_rotated_key_stands_before_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed(capsys, "--kubernetes", "--keys", str(tmp_path))
    assert printed(capsys, "make", "--kubernetes", "--keys", str(tmp_path)) == first
    old = Keyring(tmp_path, "gate").pair().public

    rotated = printed(capsys, "rotate", "--role", "gate", "--kubernetes", "--keys", str(tmp_path))

    new = Keyring(tmp_path, "gate").pair().public
    assert base64.b64decode(rotated["headrace-actor-keys"]["data"]["gate.pub"]).split() == [new, old]
    retired = printed(capsys, "retire", "--kubernetes", "--keys", str(tmp_path))
    assert base64.b64decode(retired["headrace-actor-keys"]["data"]["gate.pub"]).split() == [new]


def test_what_is_said_beside_does_not_come_between_the_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_command.run(["--kubernetes", "--keys", str(tmp_path)])
    assert "made keys of gate, learner, actor" in capsys.readouterr().err


def test_without_the_flag_no_secret_key_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.make(tmp_path)
    for action in ("make", "show", "rotate", "retire"):
        key_command.run([action, "--keys", str(tmp_path)])
    shown = capsys.readouterr()
    for role in ROLES:
        assert Keyring(tmp_path, role).pair().secret.decode() not in shown.out + shown.err


def test_damaged_keys_are_named_and_nothing_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.make(tmp_path)
    (tmp_path / "actor" / "gate.pub").unlink()
    (tmp_path / "actor" / "gate.pub").write_text("short")
    with pytest.raises(UserError, match=r"actor/gate\.pub is damaged"):
        key_command.run(["show", "--kubernetes", "--keys", str(tmp_path)])
    assert "kind: Secret" not in capsys.readouterr().out
