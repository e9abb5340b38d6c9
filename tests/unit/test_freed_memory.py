"""Memory that was freed stays with the learner: no update pays for the pages of its tensors again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from headrace_learner import freed_memory

TENSORS = 20
PROGRAM = f"""
import resource, torch
from headrace_learner import freed_memory
kept = freed_memory.keep()
for _ in range({TENSORS}):  # until the heap has its shape
    torch.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TENSORS}):
    torch.ones(4_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_large_tensor_finds_the_pages_of_the_one_before() -> None:
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    if shown[0] == "False":
        pytest.skip("the C library is not glibc")
    pages_of_one = 4_000_000 * 4 // 4096
    assert int(shown[1]) < pages_of_one  # it would be TENSORS times as many


def test_a_c_library_that_cannot_be_told_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert freed_memory.keep() is False
