"""What benchmarks compute of what they measured: medians of pairs, shares of a bound, delays, whose code ran."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

import against_peers
import end_to_end
import machine
import measurement
import meter
import page
import pytest
import soak_record
import stacks
import startup
import subscribers
import weights
from machine import Load
from measurement import Measured, Table
from soak_record import Sample
from subscribers import Host, Sightings, Subscriber
from training import Moment, Window
from weights import Publications

from headrace_proto.errors import UserError

LOAD = Load(seconds=10.0, cores=2, busy_cores=1.5, other_cores=0.25, averages=(1.0, 2.0))


def measured(*rounds: dict[str, float]) -> Measured:
    return Measured(rounds, LOAD)


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    pairs = [(100.0, 50.0), (10.0, 1.0), (30.0, 30.0)]
    found = measured(*({"fast": fast, "slow": slow, "ratio": fast / slow} for fast, slow in pairs))

    assert found.median("ratio") == 2.0
    assert found.median("fast") / found.median("slow") == 1.0


def test_a_text_has_the_median_and_how_far_the_rounds_went() -> None:
    found = measured({"rate": 1000.4}, {"rate": 3000.0}, {"rate": 2000.0})

    assert found.text("rate") == "2,000 (1,000 to 3,000)"
    assert measured({"rate": 0.126}).text("rate", 2) == "0.13"


def test_a_name_that_no_round_has_is_an_error_and_one_that_some_have_is_not() -> None:
    found = measured({"a": 1.0}, {"a": 3.0, "b": 5.0})

    assert found.names == ["a", "b"]
    assert found.median("b") == 5.0
    with pytest.raises(KeyError):
        found.median("c")


@pytest.mark.parametrize(("repeats", "quick", "rounds"), [(None, False, 5), (None, True, 1), (3, True, 3)])
def test_there_are_as_many_rounds_as_the_flags_say(repeats: int | None, quick: bool, rounds: int) -> None:
    called: list[int] = []

    def one_round() -> dict[str, float]:
        called.append(1)
        return {"calls": float(len(called))}

    found = measurement.measure(one_round, Namespace(repeats=repeats, quick=quick))

    assert found.values("calls") == [float(number) for number in range(1, rounds + 1)]


def test_the_json_has_the_medians_at_the_top_and_every_round_beneath() -> None:
    options = Namespace(page=Path("page.md"), quick=False)

    found = measurement.as_json(
        "some", measured({"rate": 1.0}, {"rate": 4.0}), options, datetime(2026, 1, 2, tzinfo=UTC)
    )

    assert (found["benchmark"], found["rate"], found["repeats"]) == ("some", 2.5, 2)
    assert found["rounds"] == [{"rate": 1.0}, {"rate": 4.0}]
    assert found["load"]["other_cores"] == 0.25
    assert found["settings"] == {"page": "page.md", "quick": False}


def test_no_repeats_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measurement.parser("Some.").parse_args(["--repeats", "0"])
    assert "1 or more" in capsys.readouterr().err


def test_the_work_of_child_processes_is_the_benchmarks_own() -> None:
    before = machine.own_cpu_seconds()
    program = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", program], check=True)

    assert machine.own_cpu_seconds() - before >= 0.2


def test_a_table_stands_in_a_page_between_its_marks_and_nowhere_else() -> None:
    text = "before\n<!-- some -->\nold\n<!-- end of some -->\nafter <!-- other -->\nstays\n<!-- end of other -->\n"
    table = Table("Rates", ["", "1/s"], [["a", "5"]]).as_markdown()

    written = page.replaced(text, "some", table)

    assert "old" not in written
    assert "| a | 5 |" in written
    assert written.startswith("before\n")
    assert written.endswith("after <!-- other -->\nstays\n<!-- end of other -->\n")
    assert page.replaced(written, "some", table) == written


def test_a_page_without_the_marks_is_refused_and_told_which() -> None:
    with pytest.raises(UserError, match="<!-- some -->"):
        page.replaced("nothing here\n", "some", "table")


WINDOW = Window(
    Moment(time=10.0, env_steps=5_000, cpu_seconds={"actor": 1.0, "learner": 2.0, "gate": 0.5, "command": 0.5}),
    Moment(time=20.0, env_steps=15_000, cpu_seconds={"actor": 8.0, "learner": 7.0, "gate": 1.5, "command": 0.5}),
)


def test_efficiency_is_the_share_of_what_the_cores_would_do_if_nothing_were_lost_between_the_parts() -> None:
    alone = {"environment": 400e-6, "inference": 200e-6, "training": 1000e-6}
    together = {"environment": 500e-6, "inference": 250e-6, "training": 1250e-6}

    found = end_to_end.summary(alone, together, WINDOW, cores_used=2)

    assert found["steps_per_second"] == 1000.0
    assert found["bound_steps_per_second"] == pytest.approx(1250.0)  # 2 / 1.6 ms
    assert found["efficiency"] == pytest.approx(0.8)
    assert found["bound_all_cores_steps_per_second"] == pytest.approx(1000.0)
    assert found["efficiency_all_cores"] == pytest.approx(1.0)


def test_the_cores_time_for_a_step_is_accounted_for_whole() -> None:
    parts = dict.fromkeys(("environment", "inference", "training"), 100e-6)

    found = end_to_end.summary(parts, parts, WINDOW, cores_used=2)

    used = {role: found[f"{role}_cpu_microseconds"] for role in end_to_end.ROLES}
    assert used == pytest.approx({"actor": 700.0, "learner": 500.0, "gate": 100.0, "command": 0.0})
    assert found["unused_microseconds"] == pytest.approx(2 * 1e6 / 1000.0 - 1300.0)


def test_an_actor_acts_by_a_version_once_it_has_that_or_a_newer_one() -> None:
    prompt = Sightings(versions=[0, 1, 2, 3], times=[0.0, 10.1, 20.2, 30.1])
    late = Sightings(versions=[0, 3], times=[0.0, 30.5])

    found = subscribers.delays([10.0, 20.0, 30.0], [prompt, late])

    assert found == [pytest.approx([0.1, 20.5]), pytest.approx([0.2, 10.5]), pytest.approx([0.1, 0.5])]


def test_what_weights_cost_is_a_share_of_all_cores_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_local.cores.usable_cores", lambda: 2)
    prompt = Subscriber(Sightings([1, 2], [1.004, 2.006]), waits=[0.003, 0.005])
    late = Subscriber(Sightings([1, 2], [1.010, 2.030]), waits=[0.004])
    published = Publications(size_bytes=100, times=[1.0, 2.0], cpu_seconds=0.02)

    found = weights.summary(2, published, [Host([prompt], 0.1), Host([late], 0.08)], period_seconds=1.0)

    assert found["bytes"] == 100
    assert found["share_of_machine_to_2"] == pytest.approx(0.2 / 2.0 / 2)
    assert found["cpu_milliseconds_to_2"] == pytest.approx(100.0)
    assert found["wait_milliseconds_to_2"] == pytest.approx(4.0)  # of 3, 4 and 5
    assert found["last_milliseconds_to_2"] == pytest.approx(20.0)  # of 10 and 30
    assert found["median_milliseconds_to_2"] == pytest.approx(12.5)  # of 7 and 18


def test_the_best_peer_is_the_fastest() -> None:
    found = against_peers.summary(900.0, {"slow": 100.0, "fast": 450.0})

    assert found["times_best_peer"] == 2.0
    assert found["times_slow"] == 9.0


def test_a_peer_is_measured_between_the_warm_up_and_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    measuring = meter.Meter(warm_up_steps=100, steps=1_000)
    looks = [(0.0, 0.0, False), (50.0, 120.0, False), (52.0, 1_119.0, False), (54.0, 1_120.0, True)]

    for now[0], steps, is_done in looks:
        assert measuring.at(steps) is is_done
    assert measuring.steps_per_second == 250.0


def test_a_peer_that_ends_early_has_no_rate() -> None:
    measuring = meter.Meter(warm_up_steps=0, steps=1_000)
    measuring.at(10)
    with pytest.raises(RuntimeError):
        _ = measuring.steps_per_second


def test_an_image_that_is_not_there_has_no_size() -> None:
    assert startup.image_bytes("headrace/no-such-image:none") is None


STACKS = """\
thread (7): MainThread;step (player.py:66);0x7f (libc.so.6);ale_step (_ale_py.cpython-311-x86_64-linux-gnu.so) 30
thread (7): MainThread;choose (policy.py:73);at::native::conv (libtorch_cpu.so);memcpy (libc.so.6) 20
thread (7): MainThread;step (player.py:66);_collect (player.py:95);add (rollout_builder.py:80) 10
thread (7): MainThread;step (player.py:67);_collect (player.py:96);add (rollout_builder.py:81) 10
thread (7): MainThread;exchange (gate_link.py:91);zmq_msg_recv (libzmq-9a58b9f5.so.5.2.5) 10
thread (7): MainThread;exchange (gate_link.py:91);poll (libc.so.6) 500
thread (8): telemetry;serve_forever (socketserver.py:233);select (libpython3.11.so.1.0) 500
"""


def test_time_goes_to_the_innermost_code_that_is_somebodys() -> None:
    found = stacks.shares(stacks.parse(STACKS.splitlines()), busy={7: 0.8}, native={})

    assert found == pytest.approx(
        {"ALE": 0.3, "torch": 0.2, "Python": 0.2, "zmq": 0.1, "numpy, codecs": 0.0, "other native": 0.0}
    )


def test_kernels_that_torch_compiles_as_it_runs_are_torchs() -> None:
    line = "thread (7): MainThread;_conv_forward (torch/nn/modules/conv.py:560);0x7f1674ae2313 (?) 3"
    (stack,) = stacks.parse([line])

    assert stack.kind == "torch"


@pytest.mark.parametrize(
    ("leaf", "waits"),
    [
        ("__poll (libc.so.6)", True),
        ("pthread_cond_timedwait@@GLIBC_2.3.2 (libc.so.6)", True),
        ("select (libpython3.11.so.1.0)", True),
        ("at::native::index_select_out_cpu_ (libtorch_cpu.so)", False),
        ("register (zmq/sugar/poll.py:60)", False),
    ],
)
def test_only_who_stands_in_a_call_that_waits_counts_as_waiting(leaf: str, waits: bool) -> None:
    (stack,) = stacks.parse([f"thread (7): MainThread;train (training.py:80);{leaf} 3"])

    assert stack.is_waiting is waits


def test_a_thread_that_was_never_sampled_at_work_counts_as_whoever_started_it() -> None:
    found = stacks.shares(stacks.parse(STACKS.splitlines()), busy={9: 0.25, 10: 0.5}, native={9: "zmq", 10: "ALE"})

    assert (found["zmq"], found["ALE"]) == (0.25, 0.5)


def test_what_is_outside_is_told_by_function() -> None:
    found = stacks.outside_by_function(stacks.parse(STACKS.splitlines()), busy={7: 0.8})

    assert found == pytest.approx({"add (rollout_builder.py)": 0.2})


def a_piece(piece: int, seconds: int, memory: float) -> list[Sample]:
    """Looked at every ten seconds; 100 steps/s with a lag of 4."""
    return [
        Sample(
            {
                **{"piece": piece, "seconds": second, "env_steps": second * 100, "lag_sum": second * 400, "alive": 200},
                **{"lag_count": second * 100, "lag_max": 7, "lag_bound": 69, "gate MiB": memory + second / 10},
            }
        )
        for second in range(0, seconds + 1, 10)
    ]


def test_a_soak_compares_the_first_quarter_of_an_hour_after_the_warm_up_with_the_last() -> None:
    told = soak_record.summary([*a_piece(1, 3600, memory=0), *a_piece(2, 3600, memory=1000)])

    assert (told["hours"], told["pieces"], told["lag_max"]) == (2, 2, 7)
    assert (told["gate MiB, begin"], told["gate MiB, end"]) == (75, 1315)
    assert told["env steps/s, begin"] == told["env steps/s, end"] == 100
    assert told["lag in updates, mean, end"] == 4
    assert soak_record.drifted(told) == ["gate MiB"]


def test_a_soak_is_kept_by_piece_so_that_it_can_go_on(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    assert soak_record.read(path) == []

    for sample in [*a_piece(1, 100, memory=0), *a_piece(2, 50, memory=0)]:
        soak_record.append(path, sample)

    assert soak_record.duration(soak_record.read(path)) == 150
    assert [len(piece) for piece in soak_record.pieces(soak_record.read(path))] == [11, 6]
