"""Runs a command so that it cannot outlive its parent: `python tether.py PARENT_PID COMMAND...`.

Run as a script and not as a module, it costs a child nothing of Headrace's imports. The kernel keeps the tie across
exec. It is not done in a `preexec_fn`, which may deadlock in a parent that has threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("error: the process that started this one is gone")
    os.execvp(command[0], command)  # noqa: S606 no shell is wanted


if __name__ == "__main__":
    main()
