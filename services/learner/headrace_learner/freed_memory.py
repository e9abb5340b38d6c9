"""Keeps memory that was freed, so that the next update's tensors find it where the last one's were.

By itself glibc gives large blocks back to the kernel at once, and each update pays for the same pages anew.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of mallopt(3): bytes at the heap's top that go back, and of a block that is mapped by itself."""

LARGEST_KEPT_BYTES = 2**30


def keep() -> bool:
    """Keep freed blocks of up to a gibibyte in this process; returns whether its C library can be told to."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    return all(mallopt(name, LARGEST_KEPT_BYTES) for name in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
