"""The benchmark of the gate: its arithmetic, and that its command runs and says what it promises."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import actor_count
import numpy as np
import payloads
import pytest
import queue_contests
import zmq
from actor_count import Cost
from gate_process import GateProcess
from measurement import Measured, Round
from peers_queues import contest, environments, experience
from peers_queues.contest import Contest, Messages, Payload, Producers, Result
from peers_queues.environments import UnavailableError
from peers_queues.experience import Experience
from peers_queues.our_gate import a_run
from waiting import wait_until

from headrace_local.launch import short_temporary_folder

ROOT = Path(__file__).parents[2]


def a_contest(frames: Path, payload: Payload = "cartpole") -> Contest:
    return Contest(
        payload=payload,
        messages="transitions",
        is_opaque=True,
        frames=frames,
        producers=0,
        seconds=0.0,
        warm_up_seconds=0.0,
        capacity=256,
    )


def some_experience(payload: Payload) -> Experience:
    stack, shape = experience.FRAME_STACKS[payload], experience.FRAME_SHAPES[payload]
    frames = np.random.default_rng(1).integers(0, 256, (5 + stack, *shape)).astype(experience.FRAME_DTYPES[payload])
    return Experience(payload, [frames])


@pytest.mark.parametrize("payload", queue_contests.PAYLOADS)
def test_a_transition_comes_out_as_it_went_in(payload: Payload) -> None:
    known = some_experience(payload)
    for transition in known.transitions(known.rollouts[0]):
        unpacked = experience.unpack(experience.pack(transition), payload)
        np.testing.assert_array_equal(unpacked["state"], transition["state"])
        np.testing.assert_array_equal(unpacked["next_state"], transition["next_state"])
        assert (unpacked["action"], unpacked["reward"]) == (transition["action"], transition["reward"])


@pytest.mark.parametrize("payload", queue_contests.PAYLOADS)
def test_a_rollout_that_shares_frames_has_the_same_transitions(payload: Payload) -> None:
    known = some_experience(payload)
    whole = experience.batch(known.transitions(known.rollouts[0]))
    unpacked = experience.batch(experience.unpack_rollout(experience.pack_rollout(known.rollouts[0]), payload))
    for name, values in whole.items():
        np.testing.assert_array_equal(unpacked[name], values)


def test_a_pair_of_atari_states_has_56_kilobytes_and_a_rollout_of_five_little_more() -> None:
    known = some_experience("atari")
    (pair, *_), (rollout,) = experience.opaque(known, "transitions"), experience.opaque(known, "rollouts")
    assert len(pair) == pytest.approx(8 * 84 * 84, abs=100)
    assert len(rollout) == pytest.approx(9 * 84 * 84, abs=100)


@pytest.mark.parametrize("payload", queue_contests.PAYLOADS)
def test_recorded_frames_make_as_many_rollouts_as_are_sent_in_turn(payload: Payload, tmp_path: Path) -> None:
    path = payloads.record(a_run(payload), tmp_path / payload)
    assert len(Experience.read(path, payload).rollouts) == experience.PREPARED


def test_what_comes_before_the_warm_up_ends_is_not_counted() -> None:
    arrivals = iter([(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)])
    result = contest.measure(a_contest(Path()), Producers(0, print), arrivals)
    assert (result.transitions, result.payload_bytes) == (3, 30)


def test_a_producer_that_dies_ends_the_measurement() -> None:
    with Producers(1, sys.exit, 3) as producers, pytest.raises(RuntimeError, match="exit status 3"):
        contest.measure(a_contest(Path()), producers, itertools.repeat((0, 0)))


def test_a_process_that_works_uses_cpu_time_and_no_process_none() -> None:
    def worked() -> bool:
        sum(number * number for number in range(100_000))
        return contest.cpu_seconds(os.getpid()) > before

    before = contest.cpu_seconds(os.getpid())
    wait_until(worked)
    assert contest.cpu_seconds(None) == 0.0


def result(transitions: int, payload_bytes: int = 0) -> Result:
    return Result(transitions, payload_bytes, seconds=2.0, producers_cpu_seconds=0.25, service_cpu_seconds=0.5)


def test_a_result_is_named_a_second_and_a_transition() -> None:
    assert queue_contests.named("x", result(100, 5000), "rollouts") == {
        "x_transitions_per_second": 50.0,
        "x_messages_per_second": 10.0,
        "x_bytes_per_second": 2500.0,
        "x_service_cpu_microseconds": 5000.0,
        "x_cpu_microseconds": 7500.0,
    }


def a_round() -> dict[str, float]:
    values: dict[str, float] = {}
    messages: tuple[Messages, ...] = queue_contests.MESSAGES
    for payload, message in itertools.product(queue_contests.PAYLOADS, messages):
        values |= queue_contests.named(f"raw_{payload}_{message}", result(1000, 1000), message)
        values |= queue_contests.named(f"gate_{payload}_{message}", result(900, 900), message)
    for payload in queue_contests.PAYLOADS:
        values |= queue_contests.named(f"user_gate_{payload}", result(6000), "rollouts")
        values |= queue_contests.named(f"user_redis_{payload}", result(1000), "transitions")
    return values


def test_the_headline_is_of_atari_pairs_of_states_and_ratios_are_of_bytes_a_second() -> None:
    ratios = queue_contests.equal_ratios(a_round())
    assert ratios["transitions_per_second"] == 450.0
    assert ratios["raw_transitions_per_second"] == 500.0
    assert ratios["bytes_ratio"] == ratios["cartpole_rollouts_bytes_ratio"] == pytest.approx(0.9)


def test_without_atari_the_headline_is_of_cartpole() -> None:
    values = {name: value for name, value in a_round().items() if "atari" not in name}
    assert queue_contests.equal_ratios(values)["bytes_ratio"] == pytest.approx(0.9)


def test_a_peer_is_compared_where_it_was_measured() -> None:
    assert queue_contests.user_ratios(a_round()) == {"times_redis_atari": 6.0, "times_redis_cartpole": 6.0}


def test_what_could_not_be_measured_says_so_in_the_table() -> None:
    values: Round = a_round() | queue_contests.user_ratios(a_round())
    measured = Measured([values], load=None)  # type: ignore[arg-type]
    rows = {row[0]: row[1:] for row in queue_contests.user_table(measured, {"reverb": "not measured"}).rows}
    assert rows["Redis list, BLMPOP of 64"] == ["500", "6.0", "750", "500", "6.0", "750"]
    assert rows["Reverb queue table"] == ["not measured", "", "", "not measured", "", ""]


def lost(gate: GateProcess) -> str:
    """What the benchmark would end with."""
    try:
        gate.require_nothing_lost()
    except RuntimeError as error:
        return str(error)
    return ""


def test_a_gate_that_carries_not_everything_ends_the_benchmark() -> None:
    with (
        short_temporary_folder() as folder,
        GateProcess(Path(folder), capacity=256) as gate,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as push,
    ):
        push.linger = 0
        push.connect(gate.addresses.transitions)
        push.send(b"one frame")
        wait_until(lambda: "frame_count" in lost(gate))


def test_the_slowest_share_is_of_the_mean() -> None:
    assert actor_count.slowest_share([10, 20, 30]) == 0.5
    assert actor_count.slowest_share([0, 0]) == 0.0


def test_growth_is_from_the_fewest_actors_to_the_most() -> None:
    costs = {
        1000: Cost(1.0, cpu_microseconds=11.0, resident_bytes=2_000_000.0, slowest_share=0.8),
        4: Cost(1.0, cpu_microseconds=10.0, resident_bytes=1_004_000.0, slowest_share=0.9),
        64: Cost(1.0, cpu_microseconds=99.0, resident_bytes=0.0, slowest_share=0.7),
    }
    assert actor_count.compared(costs) == {
        "cpu_growth": pytest.approx(0.1),
        "bytes_per_actor": 1000.0,
        "slowest_share": 0.7,
    }


def test_a_queue_whose_command_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"raw PUSH-PULL forwarder: .*a producer has died"):
        queue_contests.run(queue_contests.RAW, replace(a_contest(tmp_path / "nowhere"), producers=1))


def test_a_quick_round_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(UnavailableError, match="redis is not installed"):
        environments.of("redis", may_install=False)
    assert list(tmp_path.iterdir()) == []


def printed(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "bench" / "gate.py"), "--quick", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_command_prints_its_fields() -> None:
    values = printed("--payloads", "cartpole", "atari", "--peers", "process_queue", "--seconds", "0.2")
    assert values["transitions_per_second"] > 0
    assert values["raw_transitions_per_second"] > 0
    assert values["bytes_ratio"] > 0
    assert values["times_process_queue_atari"] > 0
    assert values["unavailable"] == {}


def test_with_actors_the_command_prints_what_they_cost() -> None:
    values = printed("--actors", "2,20", "--seconds", "0.5")
    assert values["transitions_per_second_of_20"] > 0
    assert values["cpu_microseconds_of_2"] >= 0
    assert {"cpu_growth", "bytes_per_actor", "slowest_share"} <= values.keys()
