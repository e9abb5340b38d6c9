"""The learner over real sockets, in a thread, against a small gate."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zmq
from learner_thread import LearnerThread
from made_up import GATE, a_batch_header, a_rollout, frames_of
from small_gate import RUN, SmallGate, two_rollouts
from waiting import wait_until

from headrace_learner import checkpoint_store, checkpoints
from headrace_learner.checkpoints import Checkpoint, CheckpointState
from headrace_learner.training import choose_device
from headrace_proto import weights
from headrace_proto.errors import UserError
from headrace_proto.messages import PROGRESS_TOPIC, SESSION_BYTES, WEIGHTS_TOPIC
from headrace_proto.weights import Weights


def topic_of(number: int) -> bytes:
    """Under which an actor asks for weights."""
    return WEIGHTS_TOPIC + number.to_bytes(SESSION_BYTES, "big")


def an_answered_subscriber(gate: SmallGate, learner: LearnerThread) -> zmq.Socket[bytes]:
    """One that has asked a learner that begins, under the first topic, and has its first weights."""
    learner.start()
    gate.greet()
    subscriber = gate.subscribe(topic_of(1))
    received_weights(subscriber)
    return subscriber


def ask_until_answered(subscriber: zmq.Socket[bytes]) -> None:
    """Under the first topic, as an actor does that has got no answer."""

    def is_answered() -> bool:
        subscriber.unsubscribe(topic_of(1))
        subscriber.subscribe(topic_of(1))
        return subscriber.poll(1000) != 0

    wait_until(is_answered)


def received_weights(socket: zmq.Socket[bytes]) -> Weights:
    """The newest weights that have come."""
    wait_until(lambda: socket.poll(10))
    blob = b""
    while socket.poll(50):
        blob = socket.recv_multipart()[1]
    return weights.decode(blob)


def test_before_it_is_greeted_it_tells_its_run_and_is_not_ready(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    wait_until(gate.hear)
    first = gate.progress[0]
    assert (first.generation, first.gate, first.waiting_for) == (0, bytes(16), "gate")
    assert first.run == RUN
    wait_until(lambda: learner.health.waiting_for == "gate")
    assert not learner.health.ready


def test_greeted_it_continues_the_gates_version_and_generation_and_publishes(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start()
    progress = gate.greet(generation=3, version=40)
    assert (progress.generation, progress.version, progress.published_version) == (3, 40, 40)
    published = received_weights(gate.subscribe(topic_of(1)))
    assert (published.generation, published.version, published.env_steps) == (3, 40, 0)
    assert learner.metric("published_bytes_total") > len(published.encode())
    assert learner.health.ready
    # publish every 16 of batches of 8: P = 2; K = 32; 256 / 8 = 32 batches
    assert learner.metric("policy_lag_bound_updates") == 2 + 32 + 32 - 2


def test_batches_are_trained_and_acknowledged_in_order(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet(version=7)
    for seed in range(4):
        gate.wait_for_trained(gate.send(two_rollouts(seed)))
    acknowledged = [progress.trained_batch for progress in gate.progress]
    assert acknowledged == sorted(acknowledged)
    last = gate.progress[-1]
    assert (last.env_steps, last.trained, last.version, last.received_batch) == (32, 32, 7 + 4, 4)
    assert last.published_version == 7 + 4, "published at 16 and 32 env_steps"
    assert learner.metric("updates_total") == 4
    assert learner.metric("policy_lag_updates_count") == 32
    assert learner.metric("policy_lag_max_updates") == 10, "weights of version 0, trained when the learner had 10"


def test_batches_for_another_learner_are_ignored(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet()
    gate.send(two_rollouts(), learner=b"x" * 16)
    progress = gate.wait_for_trained(gate.send(two_rollouts()))
    assert (progress.trained, progress.env_steps) == (8, 8)
    assert learner.metric("refused_batches_total") == 1


def test_whoever_asks_gets_the_newest_weights(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet(version=5)
    for seed in range(2):
        number = gate.send(two_rollouts(seed))
    gate.wait_for_trained(number)
    assert received_weights(gate.subscribe(topic_of(1))).version == 7


def test_an_actor_that_asks_again_is_answered_again(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet(version=5)
    subscriber = gate.subscribe(topic_of(1))
    assert received_weights(subscriber).version == 5
    ask_until_answered(subscriber)
    assert received_weights(subscriber).version == 5


def test_who_asks_over_and_over_is_sent_the_same_weights_once(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_learner.subscriptions.SAME_AGAIN_SECONDS", 3600.0)
    subscriber = an_answered_subscriber(gate, learner)
    for number in range(2, 100):
        subscriber.unsubscribe(topic_of(number - 1))
        subscriber.subscribe(topic_of(number))
    assert not subscriber.poll(300)

    for seed in range(2):
        gate.wait_for_trained(gate.send(two_rollouts(seed)))
    subscriber.unsubscribe(topic_of(99))
    subscriber.subscribe(topic_of(100))
    assert received_weights(subscriber).version == 2


def test_who_asks_under_many_topics_at_once_is_answered_under_a_few(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_learner.subscriptions.SAME_AGAIN_SECONDS", 3600.0)
    subscriber = an_answered_subscriber(gate, learner)
    for number in range(2, 100):
        subscriber.subscribe(topic_of(number))
    for seed in range(2):
        gate.wait_for_trained(gate.send(two_rollouts(seed)))
    subscriber.subscribe(topic_of(100))  # one more than it may have, so not answered with the new ones
    assert not subscriber.poll(300)


def test_weights_go_to_the_actor_that_asks_once_and_to_no_other(gate: SmallGate, learner: LearnerThread) -> None:
    asked_before = an_answered_subscriber(gate, learner)
    for seed in range(4):
        gate.wait_for_trained(gate.send(two_rollouts(seed)))

    newcomers = [gate.subscribe(topic_of(2 + number)) for number in range(12)]

    assert {received_weights(newcomer).version for newcomer in newcomers} == {4}
    assert not any(subscriber.poll(100) for subscriber in (asked_before, *newcomers))


def test_who_asks_before_there_are_weights_is_answered_with_the_first(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    subscriber = gate.subscribe(topic_of(1))
    subscriber.subscribe(PROGRESS_TOPIC)
    wait_until(lambda: subscriber.poll(100))  # who hears PROGRESS was heard, and what it said before
    gate.greet()

    def weights_have_come() -> bool:
        return bool(subscriber.poll(100)) and subscriber.recv_multipart()[0] == topic_of(1)

    wait_until(weights_have_come)


def test_a_malformed_rollout_is_counted_and_the_rest_of_its_batch_trained(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start()
    gate.greet()
    good, bad = two_rollouts()
    frames = frames_of([good, bad])
    frames[3] = b"\x81\xa4nope\x01"
    progress = gate.wait_for_trained(gate.send([good, bad], frames))
    assert (progress.trained, progress.rejected) == (5, {"malformed": 3})
    not_finite = a_rollout(RUN, 4, rewards=np.full(4, np.inf, np.float32))
    progress = gate.wait_for_trained(gate.send([not_finite]))
    assert (progress.trained, progress.version) == (5, 1), "a batch with nothing in it is no update"
    assert progress.rejected == {"malformed": 3, "not_finite": 4}


def test_garbage_on_its_socket_is_refused_and_it_goes_on(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet()
    for garbage in ([b""], [b"\xc1", b"x"], [b"x" * 1000] * 5):
        gate.batches.send_multipart(garbage)
    assert gate.wait_for_trained(gate.send(two_rollouts())).trained == 8
    assert learner.metric("refused_batches_total") == 3


def test_greeted_by_a_new_gate_it_keeps_its_version_and_drops_what_the_old_one_sent(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start()
    gate.greet(version=5)
    gate.wait_for_trained(gate.send(two_rollouts()))
    progress = gate.greet(gate=b"N" * 16, generation=1, version=2)
    assert (progress.version, progress.published_version) == (6, 6)
    progress = gate.wait_for_trained(gate.send(two_rollouts(), gate=GATE))
    assert progress.trained == 8, "the new gate has counted it lost"
    progress = gate.wait_for_trained(gate.send(two_rollouts(), gate=b"N" * 16))
    assert progress.trained == 16


def test_a_capacity_that_can_deadlock_is_a_persons_mistake(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    wait_until(gate.hear)
    header = a_batch_header(0, 0, batch=0, learner=gate.progress[-1].learner, capacity=16)
    gate.batches.send_multipart([header.encode()])
    learner.join()
    assert isinstance(learner.failure, UserError)
    assert str(learner.failure).startswith("--capacity 16: can deadlock; allowed: at least 17")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resume": "latest"}, "has no checkpoint to go on from"),
        ({"resume": "1250000"}, "checkpoint 1250000"),
        ({"game": "CartPol-v1"}, "did you mean CartPole-v1"),
        ({"n_step": 0}, "--n-step 0"),
        ({"replay": "uniform", "algorithm": "pqn"}, "--replay uniform: pqn"),
        ({"replay": "uniform", "algorithm": "nstep-q", "replay_max_size": 5}, "--replay-max-size 5: holds no whole"),
        ({"network": "dqn-2015"}, "--network dqn-2015"),
        ({"weights_bind": "nonsense"}, "--weights-bind nonsense"),
    ],
)
def test_a_persons_mistake_is_one_line_and_status_2(
    learner: LearnerThread, settings: dict[str, Any], message: str
) -> None:
    learner.start(**settings)
    learner.join()
    assert isinstance(learner.failure, UserError)
    assert message in str(learner.failure)


def test_a_finished_learner_that_stays_up_tells_a_gate_that_comes_later_and_ends_when_told_to(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start(steps=8, stay_up=True)
    gate.greet()
    gate.send(two_rollouts())
    wait_until(lambda: (heard := gate.hear()) and heard.finished)

    again = gate.greet(gate=b"N" * 16, generation=1, version=1)

    assert (again.finished, again.env_steps) == (True, 8)
    assert (learner.health.ready, learner.health.waiting_for) == (True, "a signal to stop")
    learner.stop()
    assert learner.failure is None


def test_a_deterministic_run_waits_for_room_for_the_checkpoint_that_its_next_epoch_begins_with(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFills()
    monkeypatch.setattr("headrace_learner.checkpoints.write", disk.write)
    monkeypatch.setattr("headrace_learner.service.ROOM_SECONDS", 0.0)
    learner.start(deterministic=True, save_every=8)
    first = gate.greet()
    disk.is_full = True
    gate.wait_for_trained(gate.send(two_rollouts()))
    wait_until(lambda: learner.health.waiting_for == "room for a checkpoint")
    wait_until(lambda: disk.refused[:3] == [8, 8, 8])
    disk.is_full = False
    wait_until(lambda: (heard := gate.hear()) and heard.learner != first.learner)
    assert gate.progress[-1].env_steps == 8


def test_a_deterministic_run_that_waits_for_room_ends_at_a_signal(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFills()
    monkeypatch.setattr("headrace_learner.checkpoints.write", disk.write)
    learner.start(deterministic=True, save_every=8)
    gate.greet()
    disk.is_full = True
    gate.send(two_rollouts())
    wait_until(lambda: learner.health.waiting_for == "room for a checkpoint")
    learner.stop()
    assert (learner.failure, disk.refused) == (None, [8])


def test_a_run_whose_last_steps_are_in_no_checkpoint_does_not_end_in_good_order(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFills()
    monkeypatch.setattr("headrace_learner.checkpoints.write", disk.write)
    learner.start(steps=8)
    gate.greet()
    disk.is_full = True
    gate.send(two_rollouts())
    learner.join()
    assert "no checkpoint could be saved at the end, env_steps 8; the last one is" in str(learner.failure)


def test_a_run_that_is_stopped_on_a_full_disk_says_what_is_lost(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFills()
    monkeypatch.setattr("headrace_learner.checkpoints.write", disk.write)
    learner.start()
    gate.greet()
    disk.is_full = True
    gate.wait_for_trained(gate.send(two_rollouts()))
    learner.stop()
    assert "make room, then go on from there with --resume latest" in str(learner.failure)


def test_a_finished_learner_that_stays_up_saves_as_soon_as_there_is_room(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskThatFills()
    monkeypatch.setattr("headrace_learner.checkpoints.write", disk.write)
    monkeypatch.setattr("headrace_learner.service.ROOM_SECONDS", 0.0)
    learner.start(steps=8, stay_up=True)
    gate.greet()
    disk.is_full = True
    gate.send(two_rollouts())
    wait_until(lambda: disk.refused[:2] == [8, 8])
    disk.is_full = False
    wait_until(lambda: 8 in checkpoint_store.folders(learner.folder / "run"))
    learner.stop()
    assert learner.failure is None


class DiskThatFills:
    """Checkpoints find no room while it is full."""

    def __init__(self) -> None:
        self.is_full = False
        self.refused: list[int] = []
        self._write = checkpoints.write

    def write(self, folder: Path, state: CheckpointState, tensors: dict[str, torch.Tensor]) -> Checkpoint:
        if self.is_full:
            self.refused.append(state.env_steps)
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(folder, state, tensors)


def test_a_run_that_has_checkpoints_is_not_written_over(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    wait_until(gate.hear)
    learner.stop()
    learner.start()
    learner.join()
    assert "add --resume latest" in str(learner.failure)


def test_a_checkpoint_of_another_game_is_refused(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    wait_until(gate.hear)
    learner.stop()
    learner.start(game="Acrobot-v1", resume="latest")
    learner.join()
    assert "game CartPole-v1, this run has Acrobot-v1" in str(learner.failure)


def test_a_cuda_device_that_is_not_there_is_a_persons_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: torch finds no CUDA device"):
        choose_device("cuda")
    assert str(choose_device("auto")) == "cpu"


def test_if_the_thread_of_its_sockets_dies_it_fails_loudly(
    gate: SmallGate, learner: LearnerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner.start()
    gate.greet()

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("headrace_learner.batches.assemble", broken)
    gate.send(two_rollouts())
    learner.join()
    assert "thread of the learner's sockets has died" in str(learner.failure)
    assert isinstance(getattr(learner.failure, "__cause__", None), ZeroDivisionError)
