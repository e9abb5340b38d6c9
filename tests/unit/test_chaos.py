"""Chaos without services: schedules, the judge of samples, memory, and the wire that loses and reorders."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import chaos.__main__
import pytest
from chaos import schedule
from chaos.footprint import Footprint
from chaos.invariants import ADVANCE_SECONDS, Judge, PromiseBrokenError
from chaos.kinds import LINKS
from chaos.machine import Permitted
from chaos.report import Report
from chaos.schedule import Schedule
from chaos.wire import Link, Wire
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

EVERYTHING = Permitted()
NOTHING = Permitted({"network": "no", "disks": "no", "clocks": "no"})


def a_schedule(seed: int, seconds: float = 1200.0, count: int = 200, actors: int = 8) -> Schedule:
    return schedule.draw(seed, seconds, count, actors, 3.0, EVERYTHING.kinds(actors, 3.0))


class TestSchedule:
    @given(
        seed=st.integers(0, 2**63),
        seconds=st.floats(1, 10_000),
        count=st.integers(1, 300),
        actors=st.integers(2, 32),
    )
    def test_faults_come_in_order_within_the_run_and_strike_what_there_is(
        self, seed: int, seconds: float, count: int, actors: int
    ) -> None:
        drawn = a_schedule(seed, seconds, count, actors)
        kinds = EVERYTHING.kinds(actors, 3.0)
        times = [fault.at for fault in drawn.faults]
        assert len(times) == count
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= seconds + 0.01
        for fault in drawn.faults:
            assert any(
                fault.kind == kind.name
                and fault.target in kind.targets
                and kind.seconds[0] - 0.01 <= fault.seconds <= kind.seconds[1] + 0.01
                and kind.amount[0] - 0.001 <= fault.amount <= kind.amount[1] + 0.001
                and fault.stops_training == kind.stops_training
                for kind in kinds
            )

    @given(st.integers(0, 2**63))
    def test_a_seed_gives_one_schedule_which_json_brings_back(self, seed: int) -> None:
        assert a_schedule(seed) == a_schedule(seed)
        assert Schedule.from_json(a_schedule(seed).to_json()) == a_schedule(seed)

    def test_another_seed_gives_another_schedule(self) -> None:
        assert len({a_schedule(seed).faults for seed in range(20)}) == 20

    @given(st.integers(0, 2**63))
    def test_two_hundred_faults_are_of_every_kind_and_the_first_actor_is_spared_by_signals(self, seed: int) -> None:
        faults = a_schedule(seed).faults
        assert {fault.kind for fault in faults} == {kind.name for kind in EVERYTHING.kinds(8, 3.0)}
        assert {fault.kind for fault in faults if fault.target == "actor-0"} <= {"clock jump"}

    def test_what_a_machine_does_not_permit_is_not_drawn(self) -> None:
        assert {kind.name for kind in NOTHING.kinds(8, 3.0)} == {"kill", "restart", "pause", "slow"}
        assert list(NOTHING.families(8, 3.0)) == ["kill", "restart", "pause", "slow"]

    @given(seed=st.integers(0, 2**63), count=st.integers(7, 40), permitted=st.sampled_from(["all", "none"]))
    def test_a_short_schedule_that_is_asked_for_them_has_a_fault_of_every_family_and_is_its_seeds_alone(
        self, seed: int, count: int, permitted: str
    ) -> None:
        here = EVERYTHING if permitted == "all" else NOTHING
        families = here.families(8, 3.0)

        def drawn() -> Schedule:
            return schedule.draw(seed, 50.0, count, 8, 3.0, here.kinds(8, 3.0), list(families.values()))

        kinds = {fault.kind for fault in drawn().faults}
        assert len(drawn().faults) == count
        assert drawn() == drawn()
        for family in families.values():
            assert kinds & {kind.name for kind in family}

    def test_fewer_faults_than_families_are_refused(self) -> None:
        families = list(EVERYTHING.families(8, 3.0).values())
        with pytest.raises(ValueError, match="6 faults cannot be of 7 families"):
            schedule.draw(1, 50.0, 6, 8, 3.0, EVERYTHING.kinds(8, 3.0), families)

    def test_a_family_that_is_left_out_stands_in_the_report_with_the_reason(self) -> None:
        console = Console(width=200, file=StringIO())
        console.print(Report(a_schedule(1), {"network": "may not unshare"}, [], Judge(), [], []).to_screen())
        assert isinstance(console.file, StringIO)
        assert "left out here: network: may not unshare" in console.file.getvalue()


def a_gate(**changes: float) -> dict[str, float]:
    """The gate's metrics with a closed account of 1,000 promised."""
    counters = {
        "promised": 1000.0,
        "returned": 100.0,
        "accepted": 800.0,
        "trained": 700.0,
        "rejected": 20.0,
        "lost": 30.0,
    }
    gauges = {"alive": 150.0, "granted": 64.0, "queued": 50.0, "untrained": 36.0, "capacity": 256.0}
    books = {name: changes.get(name, value) for name, value in counters.items()}
    now = {name: changes.get(name, value) for name, value in gauges.items()}
    return {f"gate_{name}_transitions_total": value for name, value in books.items()} | {
        f"gate_{name}_transitions": value for name, value in now.items()
    }


class TestJudge:
    def test_a_closed_account_is_heard_in_silence(self) -> None:
        judge = Judge()
        assert judge.hear_gate(a_gate(), made_before=900.0)
        assert judge.hear_gate(a_gate(promised=1010.0, trained=710.0), made_before=910.0)
        assert not judge.hear_gate(a_gate(promised=1010.0, trained=710.0), made_before=910.0)
        assert judge.largest_alive == 150

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"lost": 31.0}, "open by -1"),
            ({"lost": 29.0}, "open by 1"),
            ({"queued": 49.0}, "not what is granted, queued and untrained"),
            ({"capacity": 149.0}, "more are alive than the capacity allows"),
        ],
    )
    def test_an_account_that_does_not_close_breaks_the_promise(self, changes: dict[str, float], what: str) -> None:
        with pytest.raises(PromiseBrokenError, match=what):
            Judge().hear_gate(a_gate(**changes), made_before=0.0)

    def test_a_counter_that_goes_back_breaks_the_promise(self) -> None:
        judge = Judge()
        judge.hear_gate(a_gate(), made_before=0.0)
        with pytest.raises(PromiseBrokenError, match="trained went back"):
            judge.hear_gate(a_gate(returned=101.0, trained=699.0), made_before=0.0)

    def test_more_made_than_promised_breaks_the_promise_dead_actors_counted_too(self) -> None:
        judge = Judge()
        judge.hear_actor("actor-1", 1, {"actor_env_steps_total": 600.0})
        judge.hear_actor("actor-1", 2, {"actor_env_steps_total": 200.0})
        judge.hear_actor("actor-1", 2, {"actor_env_steps_total": 300.0})
        judge.hear_gate(a_gate(), judge.made)
        judge.hear_actor("actor-2", 1, {"actor_env_steps_total": 1.0})
        judge.hear_gate(a_gate(), judge.made)  # may be of a moment before
        with pytest.raises(PromiseBrokenError, match="actors made 901"):
            judge.hear_gate(a_gate(), judge.made)

    def test_a_policy_lag_above_its_bound_breaks_the_promise(self) -> None:
        judge = Judge()
        judge.hear_learner({"learner_policy_lag_max_updates": 69.0, "learner_policy_lag_bound_updates": 69.0})
        with pytest.raises(PromiseBrokenError, match="70 updates late"):
            judge.hear_learner({"learner_policy_lag_max_updates": 70.0, "learner_policy_lag_bound_updates": 69.0})

    def test_training_that_stands_still_breaks_the_promise_but_not_while_a_fault_stops_it(self) -> None:
        judge = Judge()
        judge.hear_gate(a_gate(), made_before=0.0)
        judge.look(0.0, is_hindered=False)
        judge.look(ADVANCE_SECONDS - 1, is_hindered=False)
        judge.look(1000.0, is_hindered=True)
        judge.hear_gate(a_gate(promised=1001.0, trained=701.0), made_before=0.0)
        judge.look(1000.0 + ADVANCE_SECONDS - 1, is_hindered=False)
        judge.hear_gate(a_gate(promised=1001.0, trained=701.0), made_before=0.0)
        with pytest.raises(PromiseBrokenError, match="nothing was trained"):
            judge.look(1000.0 + ADVANCE_SECONDS + 1, is_hindered=False)


class TestFootprint:
    def test_a_process_that_stays_as_it_is_is_flat_and_one_that_leaks_memory_or_files_is_not(self) -> None:
        footprint = Footprint()
        for second in range(600):
            footprint.add("still", second, 100e6 if second > 5 else 20e6, 30)
            footprint.add("leaks memory", second, 100e6 + 1e5 * second, 30)
            footprint.add("leaks files", second, 100e6, 30 + second / 10)
        assert {growth.process: growth.is_flat for growth in footprint.growths()} == {
            "still": True,
            "leaks memory": False,
            "leaks files": False,
        }

    def test_a_short_life_is_not_judged(self) -> None:
        footprint = Footprint()
        for second in range(60):
            footprint.add("short", second, 1e6 * second, 30)
        assert footprint.growths() == []

    def test_a_shorter_comparison_judges_a_shorter_life(self) -> None:
        footprint = Footprint(compared_seconds=15.0)
        for second in range(61):
            footprint.add("leaks memory", second, 100e6 + 5e6 * second, 30)
        assert [growth.is_flat for growth in footprint.growths()] == [False]


def test_a_broken_promise_ends_with_status_1_the_seed_and_the_command_that_brings_the_schedule_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perform(planned: Schedule, permitted: Permitted, folder: Path, show: Callable[[str], None]) -> Report:
        return Report(planned, permitted.missing, [], Judge(), [], ["the account is open by 1"])

    monkeypatch.setattr("chaos.__main__.perform", perform)
    monkeypatch.setattr("sys.argv", ["chaos", "--seed", "7", "--minutes", "1", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        chaos.__main__.main()

    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "BROKEN: the account is open by 1" in printed
    saved = tmp_path / "seed-7" / "schedule.json"
    assert f'seed 7 breaks it; once more: make chaos ARGS="--schedule {saved} --folder' in printed
    assert len(Schedule.from_json(saved.read_text()).faults) == 10
    assert json.loads((saved.parent / "report.json").read_text())["broken"] == ["the account is open by 1"]


Hosts = tuple[Wire, dict[str, socket.socket]]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A wire between two hosts, each with the packets of its device."""
    near, far = {}, {}
    for host in ("gate", "east"):
        near[host], far[host] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near[host].setblocking(False)
        far[host].settimeout(5)
    addresses = {bytes([10, 77, 0, 1]): "gate", bytes([10, 77, 0, 2]): "east"}
    yield Wire({host: device.fileno() for host, device in near.items()}, addresses), far
    for device in (*near.values(), *far.values()):
        device.close()


def carry(hosts: Hosts, count: int, link: Link | None = None) -> list[int]:
    """Send numbered packets from gate to east; the numbers that arrive, as they arrive."""
    wire, devices = hosts
    if link is not None:
        wire.set(link)
    for number in range(count):
        wire.forward("gate", bytes([0x45, number, *bytes(10), 10, 77, 0, 1, 10, 77, 0, 2]))
    while (seconds := wire.seconds_to_wait()) < 1.0:
        time.sleep(seconds)
        wire.send_due(time.monotonic())
    devices["east"].setblocking(False)
    arrived = []
    while True:
        try:
            arrived.append(os.read(devices["east"].fileno(), 65_536)[1])
        except BlockingIOError:
            return arrived


class TestWire:
    def test_a_clean_link_carries_every_packet_in_its_order(self, hosts: Hosts) -> None:
        assert carry(hosts, 50) == list(range(50))

    def test_loss_takes_some(self, hosts: Hosts) -> None:
        arrived = carry(hosts, 100, Link("gate", "east", loss=0.3))
        assert 40 < len(arrived) < 95
        assert arrived == sorted(arrived)

    def test_a_cut_link_carries_nothing_one_way_and_everything_once_it_is_mended(self, hosts: Hosts) -> None:
        assert carry(hosts, 20, Link("gate", "east", loss=1.0)) == []
        assert carry(hosts, 20, Link("east", "gate", loss=1.0)) == []
        assert carry(hosts, 20, Link("gate", "east")) == list(range(20))

    def test_jitter_reorders_without_loss(self, hosts: Hosts) -> None:
        arrived = carry(hosts, 100, Link("gate", "east", jitter=0.05))
        assert sorted(arrived) == list(range(100))
        assert arrived != sorted(arrived)

    def test_duplication_brings_some_twice(self, hosts: Hosts) -> None:
        arrived = carry(hosts, 100, Link("gate", "east", duplication=0.5))
        assert set(arrived) == set(range(100))
        assert 120 < len(arrived) < 180

    def test_delay_holds_a_packet_back(self, hosts: Hosts) -> None:
        began = time.monotonic()
        assert carry(hosts, 1, Link("gate", "east", delay=0.1)) == [0]
        assert time.monotonic() - began >= 0.1

    def test_every_link_of_the_schedule_joins_two_hosts(self) -> None:
        assert all(len(link.split("-")) == 2 for link in LINKS)
