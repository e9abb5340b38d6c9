"""The replay: what it keeps and for how long, what it samples, and that samples are what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from made_up import a_batch, a_rollout, a_run
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from headrace_learner import algorithms, replay, transitions
from headrace_learner.algorithms.q_learning import QLearning
from headrace_learner.batches import Batch
from headrace_learner.replay import SMALLEST_PRIORITY, Replay, Sample
from headrace_learner.replay_memory import require_memory
from headrace_learner.replay_training import ReplayTraining
from headrace_learner.training import Learner
from headrace_proto.combinations import require_combination
from headrace_proto.errors import UserError
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.presets import AlgorithmName
from headrace_proto.run_settings import RunSettings

RUN = a_run(rollout_length=20)
FRAMES = a_run(frame_shape=[6, 5], frame_dtype="|u1", frame_stack=3, rollout_length=20)


def an_algorithm(**settings: Any) -> QLearning:
    algorithm = algorithms.make(RunSettings(**{"algorithm": "nstep-q", "n_step": 3, "discount": 0.5, **settings}))
    assert isinstance(algorithm, QLearning)
    return algorithm


def numbered(first: int, length: int, **changes: Any) -> Batch:
    """A rollout whose rewards number its transitions; of n = 1 they are the returns."""
    rewards = np.arange(first, first + length, dtype=np.float32)
    return a_batch(RUN, [a_rollout(RUN, length, rewards=rewards, **changes)], version=first)


def a_replay(max_size: int = 100, alpha: float = 0.0, beta: float = 0.0, **changes: Any) -> Replay:
    return Replay(changes.pop("run", RUN), max_size, changes.pop("most_batches", 1000), alpha, beta, **changes)


def insert(into: Replay, *batches: Batch) -> None:
    for batch in batches:
        into.insert(batch, an_algorithm(n_step=1).look_ahead(batch))


def numbers(sample: Sample) -> NDArray[np.int64]:
    return sample.transitions.returns.numpy().astype(np.int64)


class TestWhatIsKept:
    @trials(deadline=None)
    @given(
        max_size=st.integers(20, 60),
        lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30),
        rejected=st.lists(st.integers(0, 5), min_size=30, max_size=30),
    )
    def test_the_oldest_rollouts_leave_whole_and_no_transition_outlives_max_size(
        self, max_size: int, lengths: list[int], rejected: list[int]
    ) -> None:
        kept = a_replay(max_size)
        arrived = 0
        arrivals: dict[int, int] = {}  # by the transition's number, the arrival of its rollout's first
        for length, refused in zip(lengths, rejected, strict=False):
            number = len(arrivals)
            arrivals.update({number + offset: arrived for offset in range(length)})
            batch = numbered(number, length)
            batch.rejected["malformed"] = min(refused, max_size - length)
            insert(kept, batch)
            arrived += length + batch.rejected["malformed"]
            expected = {number for number, first in arrivals.items() if arrived - first <= max_size}
            assert len(kept) == len(expected) <= max_size
            # More parts of the sum than transitions: each of them is drawn.
            assert set(numbers(kept.sample(2 * max_size))) == expected

    def test_where_batches_are_short_rollouts_leave_by_versions_before_the_replay_is_full(self) -> None:
        kept = a_replay(max_size=100, most_batches=3)
        for version in range(10):
            insert(kept, numbered(version, 1))
            assert set(kept.sample(20).versions) == set(range(max(0, version - 2), version + 1))

    def test_frames_are_kept_once_and_states_are_stacked_again_as_they_came(self) -> None:
        rollouts = [a_rollout(FRAMES, length, seed) for seed, length in enumerate([20, 1, 7])]
        batch = a_batch(FRAMES, rollouts)
        for frames, rollout in zip(batch.frames(), rollouts, strict=True):
            assert frames.dtype == np.uint8
            assert np.array_equal(frames, rollout.frames)
        kept = a_replay(run=FRAMES)
        insert(kept, batch)
        sample = kept.sample(100)
        assert torch.equal(sample.transitions.states, batch.acted_states[sample.places])
        after = batch.row_after(np.ones(len(batch), np.int64))[sample.places]
        assert torch.equal(sample.transitions.states_ahead, batch.states[after])
        assert sample.transitions.states.dtype == torch.uint8

    def test_a_transition_takes_little_more_than_a_frame_and_its_share_of_the_stack(self) -> None:
        atari = a_run(frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4, rollout_length=16)
        frames = 84 * 84 * (16 + 4) / 16
        assert frames < replay.bytes_per_transition(atari) < frames + 100


class TestTargets:
    @pytest.mark.parametrize(
        ("ending", "discounts"), [("terminated", [0.125, 0, 0, 0]), ("truncated", [0.125, 0.125, 0.25, 0.5])]
    )
    def test_n_step_returns_by_hand(self, ending: str, discounts: list[float]) -> None:
        batch = numbered(1, 4, **{ending: True})
        kept = a_replay()
        kept.insert(batch, an_algorithm().look_ahead(batch))
        sample = kept.sample(40)
        at = sample.places
        returns = np.array([1 + 2 / 2 + 3 / 4, 2 + 3 / 2 + 4 / 4, 3 + 4 / 2, 4])
        assert sample.transitions.returns.tolist() == returns[at].tolist()
        assert sample.transitions.discounts.tolist() == np.array(discounts)[at].tolist()
        ahead = batch.states[torch.tensor([3, 4, 4, 4])[torch.from_numpy(at)]]
        assert torch.equal(sample.transitions.states_ahead, ahead)

    @pytest.mark.parametrize("algorithm", ["nstep-q", "one-step-q"])
    @pytest.mark.parametrize("double_q", [False, True])
    def test_targets_and_errors_of_a_sample_are_those_of_the_batch(
        self, algorithm: AlgorithmName, double_q: bool
    ) -> None:
        torch.manual_seed(1)
        online, target = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)) for _ in range(2))
        made = an_algorithm(algorithm=algorithm, double_q=double_q)
        batch = a_batch(
            RUN, [a_rollout(RUN, 9, 1), a_rollout(RUN, 4, 2, terminated=True), a_rollout(RUN, 2, 3, truncated=True)]
        )
        kept = a_replay()
        kept.insert(batch, made.look_ahead(batch))
        sample = kept.sample(50)
        assert set(sample.places) == set(range(15))
        ours = made.evaluate_transitions(sample.transitions, online, target, rollouts=50)
        theirs = made.evaluate(batch, online, target)
        assert ours.errors is not None
        assert theirs.errors is not None
        assert ours.errors.tolist() == pytest.approx(theirs.errors[sample.places].tolist(), rel=1e-5)
        of_batch = made.targets(transitions.of_batch(batch, made.look_ahead(batch)), online, target)
        of_sample = made.targets(sample.transitions, online, target)
        assert of_sample.tolist() == pytest.approx(of_batch[sample.places].tolist(), rel=1e-5)


class TestSampling:
    def test_without_priorities_every_transition_is_as_likely_and_weighs_the_same(self) -> None:
        kept = a_replay(alpha=0.0)
        insert(kept, numbered(0, 20), numbered(20, 5))
        kept.update_priorities(np.arange(25), np.arange(25, dtype=np.float32))
        drawn = np.concatenate([numbers(kept.sample(10)) for _ in range(1000)])
        assert np.bincount(drawn, minlength=25) == pytest.approx(np.full(25, 400), rel=0.25)
        weights = kept.sample(10).transitions.weights
        assert weights is not None
        assert set(weights.tolist()) == {1.0}

    @pytest.mark.parametrize(
        ("chosen", "times"),
        [
            ({"replay": "uniform"}, 0),
            ({"replay": "prioritized", "priority_exponent": 0.0}, 0),
            ({"replay": "prioritized"}, 4),
        ],
    )
    def test_priorities_are_updated_only_where_they_make_a_difference(
        self, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], times: int
    ) -> None:
        updated: list[NDArray[np.int64]] = []
        monkeypatch.setattr(Replay, "update_priorities", lambda kept, places, errors: updated.append(places))
        sampling = {"batch_size": 8, "replay_min_size_to_sample": 8, "samples_per_insert": 4.0, "replay_max_size": 100}
        settings = RunSettings(**{"algorithm": "nstep-q", **sampling, **chosen})
        training = ReplayTraining(
            Learner(settings, RUN, torch.device("cpu")), RUN, LearnerMetrics(CollectorRegistry()).replay
        )
        updates = [update for first in (0, 8) for update in training.train(numbered(first, 8), version=1)]
        assert len(updates) >= 4
        assert len(updated[:4]) == times

    @trials(deadline=None)
    @given(
        errors=st.lists(st.floats(0.125, 10, width=32), min_size=4, max_size=20),
        alpha=st.sampled_from([0.0, 0.6, 1.0]),
    )
    def test_a_transition_is_drawn_in_proportion_to_its_priority(self, errors: list[float], alpha: float) -> None:
        kept = a_replay(alpha=alpha)
        insert(kept, numbered(0, len(errors)))
        signs = np.where(np.arange(len(errors)) % 2, -1, 1)
        kept.update_priorities(np.arange(len(errors)), (signs * errors).astype(np.float32))
        count = 4000
        priorities = (np.array(errors) + SMALLEST_PRIORITY) ** alpha
        expected = count * priorities / priorities.sum()
        # One from each equal part of the sum: at most one more or less than expected at each of its ends.
        assert np.bincount(numbers(kept.sample(count)), minlength=len(errors)) == pytest.approx(expected, abs=2.01)

    def test_importance_weights_by_hand(self) -> None:
        kept = a_replay(alpha=1.0, beta=0.5)
        insert(kept, numbered(0, 3))
        kept.update_priorities(np.arange(3), np.array([1, 4, 11], np.float32) - np.float32(SMALLEST_PRIORITY))
        # P = 1/16, 4/16, 11/16; (3 P)^-1/2 over the largest, which is the first's: sqrt(1 / 1), sqrt(1 / 4), ...
        sample = kept.sample(64)
        by_hand = np.array([1.0, 0.5, 11**-0.5])[sample.places]
        assert sample.transitions.weights is not None
        assert sample.transitions.weights.tolist() == pytest.approx(by_hand.tolist(), rel=1e-4)

    def test_a_new_transition_has_the_largest_priority_so_far(self) -> None:
        kept = a_replay(alpha=1.0)
        insert(kept, numbered(0, 2))
        kept.update_priorities(np.arange(2), np.array([7, 1], np.float32))
        kept.update_priorities(np.arange(2), np.array([1, 1], np.float32))
        insert(kept, numbered(2, 1))
        drawn = np.bincount(numbers(kept.sample(900)))
        assert drawn == pytest.approx([100, 100, 700], abs=2)

    def test_the_same_seed_draws_the_same(self) -> None:
        drawn = []
        for seed in (1, 1, 2):
            kept = a_replay(seed=(seed, 0))
            insert(kept, numbered(0, 20))
            drawn.append(numbers(kept.sample(8)).tolist())
        assert drawn[0] == drawn[1] != drawn[2]

    def test_samples_tell_the_weights_that_chose_their_actions(self) -> None:
        kept = a_replay()
        insert(kept, numbered(0, 4), numbered(40, 4))
        sample = kept.sample(30)
        assert np.array_equal(sample.versions, np.where(numbers(sample) < 40, 0, 40))


class TestMistakes:
    @pytest.mark.parametrize(
        ("settings", "line"),
        [
            ({"algorithm": "pqn"}, "--replay uniform: pqn .*allowed: --algorithm nstep-q or one-step-q, or"),
            ({"algorithm": "one-step-sarsa"}, "--replay uniform: one-step-sarsa"),
            ({"replay_max_size": 67}, "--replay-max-size 67: holds no whole batch; allowed: at least 68"),
            ({"steps": 50_000}, "--replay-min-size-to-sample 50000: the run ends before anything is trained"),
            ({"replay_max_size": 1000}, "--replay-min-size-to-sample 50000: .*at most --replay-max-size, 1000"),
        ],
    )
    def test_a_replay_that_cannot_train_is_told_before_anything_starts(
        self, settings: dict[str, Any], line: str
    ) -> None:
        base = {"algorithm": "nstep-q", "replay": "uniform", "rollout_length": 5, "batch_size": 64}
        with pytest.raises(UserError, match=line):
            require_combination(RunSettings(**{**base, **settings}))
        require_combination(RunSettings(**{**base, **settings, "replay": "none"}))

    def test_a_replay_larger_than_machine_or_container_is_told_what_it_takes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        atari = a_run(frame_shape=[84, 84], frame_dtype="|u1", frame_stack=4, rollout_length=16)
        settings = RunSettings(algorithm="nstep-q", replay="uniform", replay_max_size=10**8, steps=10**8)
        with pytest.raises(UserError, match=r"--replay-max-size 100000000: takes 8.* GB, 8\d\d\d bytes a transition"):
            require_memory(settings, atari)
        limit = tmp_path / "memory.max"
        monkeypatch.setattr("headrace_learner.replay_memory.CONTAINER_LIMIT", limit)
        limit.write_text("4000000000\n")
        with pytest.raises(UserError, match=r"the learner has 4.0 GB; allowed: less than 4\d{5}$"):
            require_memory(settings, atari)
        limit.write_text("max\n")
        shorter = settings.model_copy(update={"steps": 100_000})
        assert require_memory(shorter, atari) == pytest.approx(0.89e9, rel=0.01)
        assert require_memory(shorter.model_copy(update={"replay": "none"}), atari) == 0
