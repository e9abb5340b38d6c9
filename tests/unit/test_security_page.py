"""docs/security.md names a test for what it says, and each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
PROMISES, _, _ = PAGE.partition("## What is not protected")


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_page_names_exists(path: str, name: str) -> None:
    text = (ROOT / path).read_text()

    assert not name or f"def {name}(" in text


@pytest.mark.parametrize("promise", re.findall(r"^- .+(?:\n  .+)*", PROMISES, re.MULTILINE))
def test_what_the_page_promises_has_a_test_that_it_names(promise: str) -> None:
    assert "`tests/" in promise


def test_the_page_names_many() -> None:
    assert len(NAMED) > 20
