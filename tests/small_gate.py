"""A small gate of real sockets for tests of the learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zmq
from made_up import a_batch_header, a_rollout, a_run, frames_of
from waiting import wait_until

from headrace_proto import messages, sockets
from headrace_proto.messages import PROGRESS_TOPIC, Progress
from headrace_proto.rollouts import Rollout

RUN = a_run(name="run", life_loss_terminal=True, layer_norm=True)


class SmallGate:
    """Greets, sends batches and hears Progress, as the replay-gate does; keeps no account."""

    def __init__(self, folder: Path) -> None:
        self.context = sockets.context()
        self.batches_address, self.weights_address = f"ipc://{folder}/b", f"ipc://{folder}/w"
        self.subscribers: list[zmq.Socket[bytes]] = []
        self.batches = self.context.socket(zmq.PUSH)
        self.batches.bind(self.batches_address)
        self.progress_socket = self.subscribe(PROGRESS_TOPIC)
        self.progress: list[Progress] = []
        self.number = 0

    def subscribe(self, topic: bytes) -> zmq.Socket[bytes]:
        """A new subscriber of the learner's."""
        socket = self.context.socket(zmq.SUB)
        socket.connect(self.weights_address)
        socket.subscribe(topic)
        self.subscribers.append(socket)
        return socket

    def hear(self) -> Progress | None:
        """All Progress that has come; returns the last."""
        while self.progress_socket.poll(10):
            self.progress.append(messages.decode(Progress, self.progress_socket.recv_multipart()[1]))
        return self.progress[-1] if self.progress else None

    def greet(self, learner: bytes | None = None, **changes: Any) -> Progress:
        """Greet the learner that is heard first and wait for its answer."""
        wait_until(lambda: (heard := self.hear()) and not (learner and heard.learner == learner))
        header = a_batch_header(0, 0, batch=0, learner=self.progress[-1].learner, **changes)
        self.batches.send_multipart([header.encode()])
        wait_until(
            lambda: (heard := self.hear()) and (heard.gate, heard.generation) == (header.gate, header.generation)
        )
        return self.progress[-1]

    def send(self, rollouts: list[Rollout], frames: list[bytes] | None = None, **changes: Any) -> int:
        """Send a batch and return its number."""
        self.number += 1
        fields = {"batch": self.number, "learner": self.progress[-1].learner, **changes}
        header = a_batch_header(len(rollouts), sum(map(len, rollouts)), **fields)
        self.batches.send_multipart([header.encode(), *(frames or frames_of(rollouts))])
        return self.number

    def wait_for_trained(self, number: int) -> Progress:
        """The first Progress that says a batch is done with."""
        wait_until(lambda: (heard := self.hear()) and heard.trained_batch >= number)
        return next(progress for progress in self.progress if progress.trained_batch >= number)

    def close(self) -> None:
        """Free the sockets."""
        for socket in (self.batches, *self.subscribers):
            socket.close(linger=0)
        self.context.term()


def two_rollouts(seed: int = 0) -> list[Rollout]:
    """Eight transitions: a whole rollout and one that ended."""
    return [a_rollout(RUN, 5, seed), a_rollout(RUN, 3, seed + 1000, terminated=True)]


def learner_settings(folder: Path, gate: SmallGate, **changes: object) -> dict[str, object]:
    """Settings of a learner of RUN that talks to the gate."""
    return {
        "game": RUN.game,
        "algorithm": "nstep-q",
        "reward_clip": 0.0,
        "noop_max": 0,
        "environments_per_actor": 2,
        "max_episode_frames": 1000,
        "batch_size": 8,
        "steps": 10_000,
        "exploration": RUN.exploration,
        "epsilon_decay_steps": 100,
        "save_every": 1000,
        "publish_every": 16,
        "device": "cpu",
        "run_dir": folder / "run",
        "weights_bind": gate.weights_address,
        "batches_address": gate.batches_address,
        "metrics_port": 0,
        "metrics_address_file": folder / "metrics",
        **changes,
    }
