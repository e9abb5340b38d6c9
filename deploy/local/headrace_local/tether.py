"""Runs a command that cannot outlive its parent, with a niceness: `python tether.py PARENT_PID NICENESS COMMAND...`.

Run as a script and not as a module, it costs a child nothing of Headrace's imports. The kernel keeps the tie across
exec. It is not done in a `preexec_fn`, which may deadlock in a parent that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_AUTOGROUP = Path("/proc/self/autogroup")
_TRIES = 100


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, give way to others, then become the command."""
    parent, niceness, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("error: the process that started this one is gone")
    if niceness:
        give_way(niceness)
    os.execvp(command[0], command)  # noqa: S606 no shell is wanted


def give_way(niceness: int) -> None:
    """Be so much nicer to other processes than the parent is.

    Where the kernel groups processes by session (`autogroup`, sched(7)), a process's own niceness counts only within
    its session, and each child has one of its own: so the session gets the same. Without such groups that does nothing.
    """
    own = os.nice(niceness)
    for _ in range(_TRIES):
        try:
            _AUTOGROUP.write_text(str(own))
        except BlockingIOError:  # the kernel lets one session be changed in a tenth of a second
            time.sleep(0.05)
        except OSError:
            return
        else:
            return


if __name__ == "__main__":
    main()
