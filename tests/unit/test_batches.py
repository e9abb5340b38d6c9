"""A batch holds the states, transitions and episodes of its rollouts, and counts what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import a_batch, a_batch_header, a_header, a_rollout, a_run, frames_of

from headrace_learner import batches
from headrace_proto.specification import RunSpecification

PIXELS = a_run(frame_shape=[36, 40], frame_dtype="|u1", frame_stack=3, network="dqn-2013")


@pytest.mark.parametrize("stack", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["|u1", "<f4"])
def test_state_t_is_the_stack_of_frames_t_to_t_plus_s(stack: int, dtype: str) -> None:
    run = a_run(frame_shape=[36, 40], frame_dtype=dtype, frame_stack=stack, network="dqn-2013")
    first, second = a_rollout(run, 4, seed=1), a_rollout(run, 2, seed=2)
    batch = a_batch(run, [first, second])
    states = batch.states.numpy()
    assert states.shape == (4 + 2 + 2, stack, 36, 40)
    assert batch.states.movedim(1, -1).is_contiguous()
    for position in range(4):
        np.testing.assert_array_equal(states[position], first.frames[position : position + stack])
    for position in range(2):
        np.testing.assert_array_equal(states[4 + position], second.frames[position : position + stack])


def test_the_last_states_follow_all_states_acted_in() -> None:
    first, second = a_rollout(PIXELS, 4, seed=1), a_rollout(PIXELS, 2, seed=2)
    batch = a_batch(PIXELS, [first, second])
    assert batch.acted_states.shape[0] == 6
    np.testing.assert_array_equal(batch.states[6].numpy(), first.frames[4:7])
    np.testing.assert_array_equal(batch.states[7].numpy(), second.frames[2:5])


@pytest.mark.parametrize("run", [PIXELS, a_run()])
def test_some_states_are_those_of_their_rows_in_the_same_order_of_memory(run: RunSpecification) -> None:
    batch = a_batch(run, [a_rollout(run, 4), a_rollout(run, 3)])
    rows = torch.tensor([5, 0, 8])
    found = batch.states_of(rows)
    assert torch.equal(found, batch.states[[5, 0, 8]])
    assert found.movedim(1, -1).is_contiguous()


def test_row_after_finds_the_state_ahead_within_its_rollout() -> None:
    batch = a_batch(PIXELS, [a_rollout(PIXELS, 3), a_rollout(PIXELS, 2)])
    assert batch.row_after(np.ones(5, np.int64)).tolist() == [1, 2, 5, 4, 6]
    assert batch.row_after(np.array([3, 2, 1, 2, 1])).tolist() == [5, 5, 5, 6, 6]


def test_vectors_keep_their_shape_and_dtype() -> None:
    run = a_run()
    rollout = a_rollout(run, 5)
    batch = a_batch(run, [rollout])
    assert tuple(batch.states.shape) == (6, 1, 4)
    np.testing.assert_array_equal(batch.states[:, 0].numpy(), rollout.frames)


def test_every_transition_carries_the_version_of_its_rollout() -> None:
    run = a_run()
    header = a_batch_header(2, 3)
    parts = [a_rollout(run, 2), a_rollout(run, 1)]
    frames = [a_header(2, 7).encode(), parts[0].encode(), a_header(1, 9).encode(), parts[1].encode()]
    assert batches.assemble(header, frames, run).versions.tolist() == [7, 7, 9]


def test_ended_games_are_listed_with_raw_score_and_length() -> None:
    run = a_run()
    ended = a_rollout(run, 2, terminated=True, episode_return=21.0, episode_length=321)
    batch = a_batch(run, [a_rollout(run, 3), ended])
    assert [(episode.score, episode.length) for episode in batch.episodes] == [(21.0, 321)]
    assert batch.terminated.tolist() == [False, True]


def test_a_malformed_rollout_is_left_out_and_counted_and_the_rest_is_kept() -> None:
    run = a_run()
    good, wrong_action = a_rollout(run, 5), a_rollout(run, 3)
    wrong_action = replace(wrong_action, actions=np.full(3, 9, np.int32))
    batch = a_batch(run, [wrong_action, good])
    assert len(batch) == 5
    assert batch.rejected == {"malformed": 3}


def test_a_rollout_with_a_number_that_is_not_finite_is_counted_as_that() -> None:
    run = a_run()
    batch = a_batch(run, [a_rollout(run, 2, rewards=np.array([1.0, np.nan], np.float32)), a_rollout(run, 1)])
    assert (len(batch), batch.rejected) == (1, {"not_finite": 2})


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03"])
def test_garbage_in_place_of_a_payload_is_rejected(payload: bytes) -> None:
    batch = batches.assemble(a_batch_header(1, 4), [a_header(4).encode(), payload], a_run())
    assert (len(batch), batch.rejected) == (0, {"malformed": 4})


def test_what_the_header_counts_and_no_frame_brings_is_rejected_so_that_the_account_closes() -> None:
    run = a_run()
    frames = [b"garbage", a_rollout(run, 2).encode(), *frames_of([a_rollout(run, 3)]), a_header(1).encode()]
    batch = batches.assemble(a_batch_header(3, 6), frames, run)
    assert (len(batch), batch.rejected) == (3, {"malformed": 3})
