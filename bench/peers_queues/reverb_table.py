"""Reverb: a queue table, written and read as its documentation recommends.

Producers write with a TrajectoryWriter, each frame once: those of a transition's two states are a slice of its history,
stacked by who samples them. The consumer reads with a TrajectoryDataset, which keeps samples in flight and hands out
batches of 64.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from peers_queues import contest, experience
from peers_queues.contest import Contest, Producers
from peers_queues.experience import BATCH_SIZE, Experience

TABLE = "queue"
ITEMS_AHEAD = 10
"""Items that a writer leaves unconfirmed, so that it does not wait for each."""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def serve(asked: Contest, port: int) -> None:
    """A server with one queue, for ever."""
    import numpy as np
    import reverb
    import tensorflow as tf

    shape = (experience.FRAME_STACKS[asked.payload] + 1, *experience.FRAME_SHAPES[asked.payload])
    dtype = tf.as_dtype(np.dtype(experience.FRAME_DTYPES[asked.payload]))
    signature = {
        "frames": tf.TensorSpec(shape, dtype),
        "action": tf.TensorSpec((1,), tf.int32),
        "reward": tf.TensorSpec((1,), tf.float32),
        "terminated": tf.TensorSpec((1,), tf.bool),
    }
    server = reverb.Server([reverb.Table.queue(TABLE, asked.capacity, signature=signature)], port=port)
    server.wait()


def produce(asked: Contest, port: int) -> None:
    """Write for ever."""
    import numpy as np
    import reverb

    client = _client(reverb, port)
    known = Experience.read(asked.frames, asked.payload)
    stack = experience.FRAME_STACKS[asked.payload]
    with client.trajectory_writer(num_keep_alive_refs=stack + 1) as writer:
        for number, rollout in enumerate(known.forever()):
            # A rollout begins with the last frames of the one before, unless it is the first.
            for step in range(0 if number % len(known.rollouts) == 0 else stack, len(rollout)):
                writer.append(
                    {
                        "frames": rollout[step],
                        "action": np.int32(step % 2),
                        "reward": np.float32(step),
                        "terminated": np.bool_(False),
                    }
                )
                if step >= stack:
                    history = writer.history
                    item = {name: column[-2:-1] for name, column in history.items()}
                    writer.create_item(TABLE, 1.0, item | {"frames": history["frames"][-stack - 1 :]})
                    writer.flush(block_until_num_items=ITEMS_AHEAD)


def receive(asked: Contest, port: int) -> Iterator[tuple[int, int]]:
    """Transitions and bytes of their states, stacked, as they come."""
    import numpy as np
    import reverb

    _client(reverb, port)
    dataset = reverb.TrajectoryDataset.from_table_signature(
        f"localhost:{port}", TABLE, max_in_flight_samples_per_worker=2 * BATCH_SIZE
    )
    for sample in dataset.batch(BATCH_SIZE).as_numpy_iterator():
        frames = sample.data["frames"]
        yield BATCH_SIZE, np.stack([frames[:, :-1], frames[:, 1:]], axis=1).nbytes


def _client(reverb: Any, port: int) -> Any:
    """A client of a server that answers."""
    client = reverb.Client(f"localhost:{port}")
    while True:
        try:
            client.server_info(timeout=10)
            return client
        except Exception:  # what gRPC raises before the server is there
            time.sleep(0.2)


def main() -> None:
    """Measure it. This process imports Reverb only after the others were forked: gRPC does not survive a fork."""
    asked = Contest.read()
    (port,) = contest.free_ports(1)
    service = contest.start(serve, asked, port)
    with Producers(asked.producers, produce, asked, port) as producers:
        contest.report(contest.measure(asked, producers, receive(asked, port), service.pid))
    service.kill()
    service.join()


if __name__ == "__main__":
    main()
