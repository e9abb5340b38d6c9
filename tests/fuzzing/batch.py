"""A batch whose payloads are anything, as a learner assembles it: each transition is taken, or rejected by reason."""

from __future__ import annotations

from made_up import a_batch_header, a_header, a_rollout, a_run

from fuzzing.script import Script
from headrace_learner import batches
from headrace_proto.metrics import REJECTION_REASONS

RUN = a_run()
WHOLE = [a_rollout(RUN, count, seed=count).encode() for count in range(1, 6)]


def one_input(data: bytes) -> None:
    """Rollouts of the counts that the gate took them for, each whole or of any bytes."""
    script = Script(data)
    frames: list[bytes] = []
    count = 0
    while script.goes_on and len(frames) < 16:
        length = 1 + script.byte() % 5
        payload = WHOLE[script.byte() % 5] if script.byte() % 2 else script.take(script.byte() * 4)
        frames += [a_header(length).encode(), payload]
        count += length
    batch = batches.assemble(a_batch_header(len(frames) // 2, count), frames, RUN)
    assert set(batch.rejected) <= set(REJECTION_REASONS)
    assert len(batch) + sum(batch.rejected.values()) == count
    assert len(batch.states) == len(batch) + len(batch.lengths)


def seeds() -> list[bytes]:
    """Whole rollouts of the right and of another length, and one with its bytes spelt out."""
    spelt = WHOLE[0] + bytes(-len(WHOLE[0]) % 4)
    return [bytes([4, 4, 1, 1, 1, 1]), bytes([4, 1, 1, 0, 0, 1]), bytes([0, 0, 0, len(spelt) // 4]) + spelt]
