"""docs/security.md names a test for what it says, and each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_page_names_exists(path: str, name: str) -> None:
    text = (ROOT / path).read_text()

    assert not name or f"def {name}(" in text


@pytest.mark.parametrize("sentence", re.findall(r"^- .+(?:\n  .+)*", PAGE, re.MULTILINE))
def test_what_the_page_promises_or_says_is_not_protected_has_a_test_that_it_names(sentence: str) -> None:
    assert "`tests/" in sentence


def test_the_page_names_many() -> None:
    assert len(NAMED) > 20
