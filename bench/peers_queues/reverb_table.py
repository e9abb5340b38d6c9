"""Reverb: a queue table, written and read as its documentation recommends.

Producers write with a TrajectoryWriter, each state once: the two states of a transition are a slice of its history. The
consumer reads with a TrajectoryDataset, which keeps samples in flight and hands out batches of 64.
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

    shape = (experience.FRAME_STACKS[asked.payload], *experience.FRAME_SHAPES[asked.payload])
    dtype = tf.as_dtype(np.dtype(experience.FRAME_DTYPES[asked.payload]))
    signature = {
        "state": tf.TensorSpec((2, *shape), dtype),
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
    with client.trajectory_writer(num_keep_alive_refs=2) as writer:
        written = 0
        for rollout in known.forever():
            for transition in known.transitions(rollout):
                step = {
                    "state": np.ascontiguousarray(transition["state"]),
                    "action": np.int32(transition["action"]),
                    "reward": np.float32(transition["reward"]),
                    "terminated": np.bool_(transition["terminated"]),
                }
                writer.append(step)
                written += 1
                if written > 1:
                    history = writer.history
                    item = {name: history[name][-2:] if name == "state" else history[name][-2:-1] for name in step}
                    writer.create_item(TABLE, 1.0, item)
                    writer.flush(block_until_num_items=ITEMS_AHEAD)


def receive(asked: Contest, port: int) -> Iterator[tuple[int, int]]:
    """Transitions and bytes of their states, as they come."""
    import reverb

    _client(reverb, port)
    dataset = reverb.TrajectoryDataset.from_table_signature(
        f"localhost:{port}", TABLE, max_in_flight_samples_per_worker=2 * BATCH_SIZE
    )
    for sample in dataset.batch(BATCH_SIZE).as_numpy_iterator():
        yield BATCH_SIZE, sample.data["state"].nbytes


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
