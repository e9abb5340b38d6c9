"""Fuzzing in short: every input that is kept, and some thousand made from them. The long run: docs/security.md."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import gate, targets

from headrace_gate.gate import Gate
from headrace_gate.ledger import CreditLedger
from headrace_proto.messages import Session

ROOT = Path(__file__).parents[2]
MOST_CORPUS_BYTES = 1_000_000

has_atheris = pytest.mark.skipif(platform.machine() != "x86_64", reason="atheris has wheels for x86-64 alone")


@pytest.mark.parametrize("name", targets.TARGETS)
def test_no_input_that_is_kept_breaks_anything(name: str) -> None:
    target = targets.load(name)

    for data in targets.corpus(name) + target.seeds():
        target.one_input(data)


@has_atheris
@pytest.mark.parametrize("name", targets.TARGETS)
def test_nor_do_twenty_thousand_made_from_them(name: str, tmp_path: Path) -> None:
    fuzzed = fuzz(tmp_path, "--target", name, "--runs", "20000", "--seed", "1")

    assert fuzzed.returncode == 0, fuzzed.stderr[-3000:]
    tried = re.search(r"number_of_executed_units: (\d+)", fuzzed.stderr)
    assert tried is not None
    assert int(tried[1]) >= 20_000


@has_atheris
def test_an_input_that_breaks_something_ends_with_it_in_a_file(tmp_path: Path) -> None:
    fuzzed = fuzz(
        tmp_path, "--target", "decoder", "--runs", "20000", before="import fuzzing.decoder as d; d.REASONS.clear()"
    )

    assert fuzzed.returncode != 0
    assert "Uncaught Python exception" in fuzzed.stdout + fuzzed.stderr
    assert list((tmp_path / "build" / "fuzzing").glob("decoder-broken-*"))


class ForgetfulGate(Gate):
    """At the end of a lease it forgets what the actor owes."""

    def _finish_all(self, session: Session, now: float) -> None:
        self.ledger._credits.pop(session, None)


class LaxLedger(CreditLedger):
    """It has room for one more."""

    @property
    def room(self) -> int:
        return super().room + 1


class LaxGate(Gate):
    """A gate with such a ledger."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.ledger = LaxLedger(self.limits.capacity)


@pytest.mark.parametrize("gate_class", [ForgetfulGate, LaxGate])
def test_the_inputs_that_are_kept_find_a_gate_with_a_defect(gate_class: type[Gate]) -> None:
    def breaks(data: bytes) -> bool:
        try:
            gate.one_input(data, gate_class)
        except Exception:
            return True
        return False

    assert any(map(breaks, targets.corpus("gate")))


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in targets.CORPUS.rglob("*") if path.is_file()]

    assert sum(sizes) < MOST_CORPUS_BYTES
    assert {path.name for path in targets.CORPUS.iterdir()} == set(targets.TARGETS)


def fuzz(folder: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"{before}\nimport fuzzing.__main__\nfuzzing.__main__.main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=150,
    )
