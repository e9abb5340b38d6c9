"""Sampled stacks of a process and the CPU time of its threads: whose code the time goes to. Pure functions.

A stack is a line as py-spy's raw format has it, `thread (TID): NAME;frame (file:line);...;frame (library) COUNT`, from
the thread's beginning to where it was.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

KINDS = ("ALE", "torch", "zmq", "numpy, codecs", "Python", "other native")
OUTSIDE = ("numpy, codecs", "Python", "other native")
"""What is neither ALE nor torch's kernels nor zmq."""

WAITING = re.compile(r"nanosleep|poll|epoll_wait|select|futex|cond_(timed)?wait|sem_(timed)?wait|pthread_join")
OWNERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"_ale_py|ale_vector|libale"), "ALE"),
    (re.compile(r"libtorch|libc10|libgomp|libmkl|libdnnl|libshm"), "torch"),
    (re.compile(r"libzmq|libsodium|zmq/backend|_cffi|_zmq"), "zmq"),
    (re.compile(r"numpy|umath|multiarray|libopenblas|libscipy|msgpack|safetensors|_cmsgpack"), "numpy, codecs"),
    (re.compile(r"\.py:\d+$|libpython|python3"), "Python"),
)
NOBODYS = re.compile(r"^(libc|libm|libpthread|ld-linux[\w-]*|libstdc\+\+|libgcc_s)\.so|vdso")
"""Libraries that work for whoever called them."""

WAITERS = re.compile(NOBODYS.pattern + "|libpython|python3")

FRAME = re.compile(r"^(?P<function>.*) \((?P<where>[^()]*)\)$")
THREAD = re.compile(r"^thread \((?P<number>\d+)\)")


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that was seen `count` times, frames from the beginning to where the thread was."""

    thread: int
    frames: tuple[str, ...]
    count: int

    @property
    def is_waiting(self) -> bool:
        """Whether the thread stood in a call of C library or interpreter that waits; `index_select` is none."""
        frame = FRAME.match(self.frames[-1]) if self.frames else None
        return frame is not None and bool(WAITERS.search(frame["where"]) and WAITING.search(frame["function"]))

    @property
    def kind(self) -> str:
        """Whose code ran: that of the innermost frame that is somebody's.

        What torch's oneDNN compiles as it runs belongs to no file: it is whatever torch's Python has called.
        """
        is_compiled = False
        for frame in reversed(self.frames):
            where = _where(frame)
            is_compiled |= where == "?"
            if where == "?" or NOBODYS.search(where):
                continue
            if is_compiled and where.startswith("torch/"):
                return "torch"
            return next((kind for pattern, kind in OWNERS if pattern.search(where)), "other native")
        return "other native"

    @property
    def function(self) -> str:
        """The innermost frame in Python, without the number of its line."""
        in_python = [frame for frame in self.frames if re.search(r"\.py:\d+\)$", frame)]
        return re.sub(r":\d+\)$", ")", in_python[-1]) if in_python else ""


def parse(lines: Iterable[str]) -> list[Stack]:
    """The stacks of py-spy's raw format, taken with `--threads`."""
    stacks = []
    for line in lines:
        frames, _, count = line.rstrip().rpartition(" ")
        names = frames.split(";")
        thread = THREAD.match(names[0])
        if thread is not None:
            stacks.append(Stack(int(thread["number"]), tuple(names[1:]), int(count)))
    return stacks


def shares(stacks: Sequence[Stack], busy: Mapping[int, float], native: Mapping[int, str]) -> dict[str, float]:
    """Share of a core by kind.

    Samples say what a thread did, its CPU time how much: a thread's share is divided as its working stacks are.

    Args:
        stacks: what was sampled of the process
        busy: share of a core that each thread was busy, by thread id
        native: whose the threads are that were never sampled at work, by thread id
    """
    found = dict.fromkeys(KINDS, 0.0)
    for stack, share in _weighted(stacks, busy):
        found[stack.kind] += share
    sampled = {stack.thread for stack in stacks if not stack.is_waiting}
    for thread, share in busy.items():
        if thread not in sampled:
            found[native.get(thread, "other native")] += share
    return found


def outside_by_function(stacks: Sequence[Stack], busy: Mapping[int, float]) -> dict[str, float]:
    """Share of a core that ran in neither ALE nor torch nor zmq, by function in Python, the largest first."""
    found: defaultdict[str, float] = defaultdict(float)
    for stack, share in _weighted(stacks, busy):
        if stack.kind in OUTSIDE:
            found[stack.function] += share
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _weighted(stacks: Sequence[Stack], busy: Mapping[int, float]) -> Iterator[tuple[Stack, float]]:
    """The stacks that do not wait, each with its share of a core."""
    working = [stack for stack in stacks if not stack.is_waiting]
    totals: Counter[int] = Counter()
    for stack in working:
        totals[stack.thread] += stack.count
    for stack in working:
        yield stack, busy.get(stack.thread, 0.0) * stack.count / totals[stack.thread]


def _where(frame: str) -> str:
    match = FRAME.match(frame)
    return match["where"] if match else frame
