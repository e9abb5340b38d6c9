"""A learner with a replay over real sockets: what it tells the gate and Prometheus."""

from __future__ import annotations

from learner_thread import LearnerThread
from made_up import a_rollout, frames_of
from small_gate import RUN, SmallGate, two_rollouts

# A batch has 8 transitions: 16 fill the replay, which then brings 2 updates a batch.
REPLAY = {
    "algorithm": "nstep-q",
    "n_step": 5,
    "rollout_length": 5,
    "replay": "prioritized",
    "replay_max_size": 32,
    "replay_min_size_to_sample": 16,
    "samples_per_insert": 2.0,
}


def test_a_batch_is_trained_once_its_updates_are_made_and_is_one_version(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start(**REPLAY)
    gate.greet(version=7)
    updates = []
    for seed in range(5):
        progress = gate.wait_for_trained(gate.send(two_rollouts(seed)))
        assert (progress.trained, progress.env_steps) == (8 * (seed + 1), 8 * (seed + 1))
        assert progress.version == 7 + seed + 1
        updates.append(learner.metric("updates_total"))
    assert updates == [0, 0, 2, 4, 6]


def test_it_exports_its_size_its_ratio_and_the_age_of_its_samples(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start(**REPLAY)
    gate.greet()
    lag_bound = learner.metric("policy_lag_bound_updates")
    assert learner.metric("replay_max_size_transitions") == 32
    for seed in range(8):
        number = gate.send(two_rollouts(seed))
    gate.wait_for_trained(number)
    assert 32 - 2 * 5 < learner.metric("replay_size_transitions") <= 32
    assert learner.metric("replay_samples_per_insert") == 2.0
    assert learner.metric("replay_sample_age_versions_count") == (8 - 2) * 2 * 8
    assert learner.metric("policy_lag_updates_count") == 8 * 8, "of each transition once, as it arrives"
    assert learner.metric("replay_sample_age_bound_versions") == lag_bound + 32 / 8 - 1
    # All came from weights of version 0, though the gate grants nothing so stale: the eighth batch trained version 7.
    assert learner.metric("replay_sample_age_max_versions") == 7


def test_without_a_replay_its_metrics_are_there_and_nought(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start()
    gate.greet()
    gate.wait_for_trained(gate.send(two_rollouts()))
    for name in ("size_transitions", "max_size_transitions", "samples_per_insert", "sample_age_versions_count"):
        assert learner.metric(f"replay_{name}") == 0
    assert learner.metric("replay_sample_age_bound_versions") == 0


def test_what_is_rejected_is_told_and_not_inserted(gate: SmallGate, learner: LearnerThread) -> None:
    learner.start(**REPLAY)
    gate.greet()
    good = a_rollout(RUN, 5)
    frames = frames_of([good, good])
    frames[3] = b"\x81\xa4nope\x01"
    progress = gate.wait_for_trained(gate.send([good, good], frames))
    assert (progress.trained, progress.rejected) == (5, {"malformed": 5})
    assert learner.metric("replay_size_transitions") == 5


def test_a_learner_that_resumes_fills_its_replay_again_before_it_samples(
    gate: SmallGate, learner: LearnerThread
) -> None:
    learner.start(**REPLAY)
    gate.greet()
    for seed in range(4):
        number = gate.send(two_rollouts(seed))
    gate.wait_for_trained(number)
    first = gate.progress[-1].learner
    learner.stop()
    assert learner.metric("run_updates") == 4

    learner.start(**REPLAY, resume="latest")
    gate.greet(learner=first, version=4)
    for seed in range(3):
        gate.wait_for_trained(gate.send(two_rollouts(seed)))
        assert learner.metric("updates_total") == (2 if seed == 2 else 0)
    assert (learner.metric("env_steps"), learner.metric("run_updates")) == (32 + 24, 4 + 2)
