"""`make fuzz ARGS="--target decoder --runs 1000000"`: coverage-guided fuzzing of one target, by atheris on libFuzzer.

Inputs that reach something new are kept in build/fuzzing/TARGET, one that breaks something in TARGET-broken-HASH beside
it; `--minimise` writes what is worth keeping of them to tests/fuzzing/corpus. Exit status 0 if nothing broke.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

from fuzzing import targets

WORK = Path("build/fuzzing")
LONGEST_INPUT_BYTES = 4096
SECONDS_FOR_ONE_INPUT = 20
MEMORY_MIB = 2048
INSTRUMENTED = ["headrace_proto", "headrace_gate", "headrace_learner", "msgpack", "fuzzing"]


def main() -> None:
    """Fuzz until so many inputs were tried; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--target", choices=targets.TARGETS, required=True)
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs to try")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0 draws one")
    parser.add_argument("--minimise", action="store_true", help="keep what is worth it, in place of fuzzing")
    parser.add_argument("--libfuzzer", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = targets.load(chosen.target)
    kept, work = targets.CORPUS / chosen.target, WORK / chosen.target
    for folder in (kept, work):
        folder.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(target.seeds()):
        (work / f"seed-{place}").write_bytes(seed)
    limits = [
        f"-max_len={LONGEST_INPUT_BYTES}",
        f"-timeout={SECONDS_FOR_ONE_INPUT}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={work}-broken-",
    ]
    if chosen.libfuzzer is not None:
        arguments = chosen.libfuzzer
    elif chosen.minimise:
        arguments = [*limits, "-merge=1", str(kept), str(work)]
    else:
        runs = [f"-runs={chosen.runs}", f"-seed={chosen.seed}", "-print_final_stats=1"]
        arguments = [*limits, *runs, str(work), str(kept)]
    atheris.Setup([str(again(chosen.target)), *arguments], kept_if_it_breaks(target, work))
    atheris.Fuzz()


def again(target: str) -> Path:
    """A program by which libFuzzer starts another process of this one, as it does to minimise."""
    program = WORK / f"{target}-again"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fuzzing --target {target} --libfuzzer "$@"\n')
    program.chmod(0o755)
    return program


def kept_if_it_breaks(target: targets.Target, folder: Path) -> Callable[[bytes], None]:
    """The target's `one_input`, which leaves what broke it in a file."""

    def one_input(data: bytes) -> None:
        try:
            target.one_input(data)
        except Exception:
            path = folder.with_name(f"{folder.name}-broken-{hashlib.sha1(data).hexdigest()}")
            path.write_bytes(data)
            print(f"broken by {path}", file=sys.stderr)
            raise

    return one_input


if __name__ == "__main__":
    main()
