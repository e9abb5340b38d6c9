"""Who may read what lies on the disk: whom the umask of the process allows, and nobody besides."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from made_up import a_checkpoint_state

from headrace_gate.journal import Journal
from headrace_learner import checkpoint_store, checkpoints


@pytest.fixture(autouse=True)
def _for_the_owner_alone() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_checkpoint_is_open_to_nobody_whom_the_umask_shuts_out(tmp_path: Path) -> None:
    folder = checkpoint_store.folder_of(tmp_path / "run", 5)
    written = checkpoints.write(folder, a_checkpoint_state(5), {"online/x": torch.zeros(1)})

    assert list(written.path.iterdir())
    assert open_to_others(tmp_path) == []


def test_a_journal_is_open_to_nobody_whom_the_umask_shuts_out(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal")) as journal:
        journal.begin({"totals": {"queued": 3}})
        journal.write({"totals": {"queued": 5}})

    assert (tmp_path / "journal").exists()
    assert open_to_others(tmp_path) == []
