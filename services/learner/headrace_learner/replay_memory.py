"""Whether a full replay has room in the learner's memory: told before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from headrace_learner import replay
from headrace_proto.errors import UserError
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import RunSpecification

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how many bytes a container may take: a number, or max."""


def require_memory(settings: RunSettings, run: RunSpecification) -> float:
    """Bytes of a full replay; raises UserError if they are more than this machine's or container's memory."""
    if settings.replay == "none":
        return 0.0
    each = replay.bytes_per_transition(run)
    needed = min(settings.replay_max_size, settings.steps) * each
    memory = _memory_bytes()
    if needed > memory:
        raise UserError(
            f"--replay-max-size {settings.replay_max_size}: takes {needed / 1e9:.1f} GB, {each:.0f} bytes a "
            f"transition, and the learner has {memory / 1e9:.1f} GB; allowed: less than {int(memory / each)}"
        )
    return needed


def _memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else "max"
    return machine if limit == "max" else min(machine, int(limit))
