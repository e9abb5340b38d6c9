"""The journal: what was written last is what is read, wherever a kill or a full disk cut in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_gate import journal
from headrace_gate.account_entries import Entries
from headrace_gate.journal import DamagedJournalError, Journal

FIRST: Entries = {"totals": {"queued": 3}, b"A" * 16: [[0, 0, 1], []]}


def a_journal(folder: Path, entries: Entries = FIRST) -> Journal:
    made = Journal(folder / "journal")
    made.begin(entries)
    return made


def reread(written: Journal) -> Entries | None:
    return Journal(written.path).read()


def test_what_was_written_is_read_with_later_entries_in_the_place_of_earlier_ones(tmp_path: Path) -> None:
    written = a_journal(tmp_path)
    written.write({"totals": {"queued": 5}, b"B" * 16: [[1, 0, 1], []]})
    written.write({b"A" * 16: None})

    assert reread(written) == {"totals": {"queued": 5}, b"B" * 16: [[1, 0, 1], []]}


def test_no_file_is_no_account(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none").read() is None


def test_an_entry_that_is_as_it_was_is_not_written_again(tmp_path: Path) -> None:
    written = a_journal(tmp_path)
    before = written.path.stat().st_size

    written.write(dict(FIRST))

    assert written.path.stat().st_size == before


def test_a_turn_writes_no_more_among_many_sessions_than_among_few(tmp_path: Path) -> None:
    def growth(sessions: int) -> int:
        (tmp_path / str(sessions)).mkdir()
        written = a_journal(
            tmp_path / str(sessions), {number.to_bytes(16, "big"): [[number, 0, 1], []] for number in range(sessions)}
        )
        before = written.path.stat().st_size
        written.write({(1).to_bytes(16, "big"): [[1, 0, 2], []]})
        return written.path.stat().st_size - before

    assert growth(3000) == growth(4)


def test_the_log_does_not_grow_without_end(tmp_path: Path) -> None:
    written = a_journal(tmp_path)
    for queued in range(5000):
        written.write({"totals": {"queued": queued}})

    assert written.path.stat().st_size <= journal.SHORTEST_OVERGROWN_BYTES + 1000
    assert reread(written) == {**FIRST, "totals": {"queued": 4999}}


@given(cut=st.integers(1, 40))
def test_a_record_that_a_kill_cut_short_was_never_written(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    written = a_journal(tmp_path_factory.mktemp("cut"))
    written.write({"totals": {"queued": 5}})
    written.path.write_bytes(written.path.read_bytes()[:-cut])

    assert reread(written) == FIRST


def test_a_changed_byte_is_told(tmp_path: Path) -> None:
    written = a_journal(tmp_path)
    whole = bytearray(written.path.read_bytes())
    whole[-1] ^= 1
    written.path.write_bytes(whole)

    with pytest.raises(DamagedJournalError, match="checksum"):
        reread(written)


def test_a_file_without_a_whole_record_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"12345678")

    with pytest.raises(DamagedJournalError, match="no whole record"):
        Journal(tmp_path / "journal").read()


def test_what_could_not_be_written_is_written_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    written = a_journal(folder)
    folder.rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        written.write({"totals": {"queued": 5}})
    with pytest.raises(OSError, match="No such file"):
        written.write({})
    (tmp_path / "away").rename(folder)

    written.write({})

    assert reread(written) == {**FIRST, "totals": {"queued": 5}}
