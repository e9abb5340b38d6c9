"""Log lines: none of them ends a service, whatever becomes of where they go."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from headrace_proto import logs

LOGS_AN_ERROR = """
import sys
from headrace_proto import logs
log = logs.configure("actor")
try:
    raise ZeroDivisionError("of the game")
except ZeroDivisionError as error:
    log.error("the actor dies of an error", error=repr(error), exc_info=True)
log.info("still here")
print("alive", file=sys.stderr)
"""


def run(code: str, stdout: int | TextIO) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A reading end, and a stream of the writing end, which fails where there is no room."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


def test_a_full_disk_takes_no_line_and_no_service() -> None:
    with Path("/dev/full").open("w") as full:
        ended = run(LOGS_AN_ERROR, full)
    assert (ended.returncode, ended.stderr) == (0, "alive\n")


def test_a_reader_that_is_gone_takes_no_service() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run(LOGS_AN_ERROR, writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "alive\n")


def test_a_process_without_standard_output_goes_on() -> None:
    without = ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, LOGS_AN_ERROR]
    ended = subprocess.run(without, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "alive\n")


def test_the_next_line_that_can_be_written_says_how_many_could_not(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, stream = pipe
    monkeypatch.setattr(sys, "stdout", stream)
    log = logs.configure("learner")
    log.info("first")
    written = os.read(reader, 1_000_000)
    while True:  # to the last byte
        try:
            os.write(stream.fileno(), b".")
        except BlockingIOError:
            break
    log.info("second")
    log.info("third")
    while True:
        try:
            os.read(reader, 1_000_000)
        except BlockingIOError:
            break
    log.info("fourth")
    log.info("fifth")
    written += os.read(reader, 1_000_000)

    lines = [json.loads(line) for line in written.decode().splitlines()]
    assert [(line["event"], line.get("lines_dropped")) for line in lines] == [
        ("first", None),
        ("fourth", 2),
        ("fifth", None),
    ]


def test_a_line_after_one_that_was_cut_short_begins_anew(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    lines = logs.LineWriter(stream)
    lines.msg("x" * 1_000_000)
    assert lines.dropped == 1
    cut = os.read(reader, 1_000_000)
    lines.msg("next")
    assert set(cut) == {ord("x")}
    assert os.read(reader, 1_000_000) == b"\nnext\n"


def test_an_error_on_a_terminal_shows_its_traceback() -> None:
    ours, theirs = pty.openpty()
    try:
        ended = run(LOGS_AN_ERROR, theirs)
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (0, "alive\n")
    assert "ZeroDivisionError: of the game" in shown
    assert "still here" in shown


def test_an_error_elsewhere_is_one_json_object_with_its_traceback() -> None:
    ended = run(LOGS_AN_ERROR, subprocess.PIPE)
    first, second = map(json.loads, ended.stdout.splitlines())
    assert first["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert second["event"] == "still here"
