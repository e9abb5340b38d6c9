"""Gate, learner and actor as real processes under peers that mean them ill: they train on, and each offence is counted.

How fast they train meanwhile is measured by `python -m siege`, and told in docs/security.md.
"""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import hostile_peers
import pytest
from hostile_peers import Target
from separate_services import MOST_RESIDENT_BYTES, Services, peak_resident_bytes
from waiting import wait_until

from headrace_gate import account_entries
from headrace_gate.journal import Journal
from headrace_proto import keys

pytestmark = pytest.mark.timeout(400)


class Besieged:
    """Services that train, and a target for attacks on them."""

    def __init__(self, folder: Path, keys_folder: Path | None, stack: ExitStack, most_open_files: int | None) -> None:
        self.services = Services(folder, stack)
        self.processes: dict[str, subprocess.Popen[bytes]] = {
            "gate": self.services.start("gate", keys_folder, most_open_files),
            "learner": self.services.start("learner", keys_folder),
            "actor": self.services.start("actor", keys_folder),
        }
        self.keys_folder = keys_folder
        self.target = Target(self.services.addresses, keys_folder)
        self.services.trains_on()

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Attacked within, and after: all live, gate and learner never took too much memory, training goes on."""
        self.target = Target(self.services.addresses, self.keys_folder)
        try:
            yield
            self.services.trains_on()
        finally:
            self.target.let_go()
        self.services.trains_on()
        assert [process.poll() for process in self.processes.values()] == [None] * 3
        for role, most in MOST_RESIDENT_BYTES.items():
            assert peak_resident_bytes(self.processes[role]) < most

    def refused(self, reason: str) -> float:
        return self.services.value("gate", "headrace_gate_refused_messages_total", reason=reason)

    def rejected(self, reason: str) -> float:
        return self.services.value("gate", "headrace_gate_rejected_transitions_total", reason=reason)

    def cut(self, reason: str, service: str = "gate") -> float:
        return self.services.value(service, "headrace_connections_cut_total", reason=reason)

    def seated(self) -> list[bytes]:
        """The sessions that have a seat, by the gate's journal."""
        entries = Journal(self.services.folder / "journal").read() or {}
        return list(account_entries.parts(entries).roster["seats"])

    def are_gone(self, sessions: list[bytes]) -> bool:
        return not set(sessions) & set(self.seated())

    def account_closes(self) -> bool:
        """Whether in one scrape promised - returned = trained + rejected + lost + alive."""
        counted: Counter[str] = Counter()
        for sample in self.services.samples("gate"):
            counted[sample.name.removeprefix("headrace_gate_").removesuffix("_total")] += round(sample.value)
        promised, returned = counted["promised_transitions"], counted["returned_transitions"]
        settled = sum(counted[f"{name}_transitions"] for name in ("trained", "rejected", "lost", "alive"))
        return promised - returned == settled > 0

    def open(self) -> float:
        return self.services.value("gate", "headrace_connections")

    def ended(self) -> float:
        return self.services.value("gate", "headrace_connections_ended_total")

    def broken(self) -> float:
        name = "headrace_handshake_failures_total"
        return sum(self.services.value(service, name, reason="broken") for service in ("gate", "learner"))


@contextmanager
def besieged(folder: Path, keys_folder: Path | None, most_open_files: int | None = None) -> Iterator[Besieged]:
    with ExitStack() as stack:
        yield Besieged(folder, keys_folder, stack, most_open_files)


@pytest.fixture(scope="module", params=["no keys", "keys"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    folder: Path = tmp_path_factory.mktemp("besieged")
    keys_folder = None
    if request.param == "keys":
        keys_folder = folder / "keys"
        keys.make(keys_folder)
    with besieged(folder, keys_folder) as made:
        yield made


@pytest.fixture(scope="module")
def without_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    with besieged(tmp_path_factory.mktemp("open"), None) as made:
        yield made


def test_garbage_is_refused_and_counted(standing: Besieged) -> None:
    before, ended = standing.refused("malformed"), standing.ended()

    with standing.standing():
        hostile_peers.garbage(standing.target)
        wait_until(lambda: standing.refused("malformed") >= before + 2000)
        wait_until(lambda: standing.ended() >= ended + 3)


def test_who_sends_long_frames_is_refused_and_cut_off(standing: Besieged) -> None:
    before = standing.refused("oversized"), standing.cut("oversized")

    def is_seen() -> bool:
        return standing.refused("oversized") > before[0] and standing.cut("oversized") > before[1]

    with standing.standing():
        hostile_peers.long_frames(standing.target, go=lambda: wait_until(is_seen))


def test_who_sends_huge_frames_is_cut_off_once_they_have_come_or_on_their_way(standing: Besieged) -> None:
    def cut() -> float:
        return standing.cut("oversized") + standing.cut("endless_message")

    before = cut()

    with standing.standing():
        hostile_peers.huge_frames(standing.target, go=lambda: wait_until(lambda: cut() > before))


def test_a_host_from_which_somebody_was_cut_off_is_kept_out_for_a_while(standing: Besieged) -> None:
    before = standing.cut("paused")

    def is_kept_out() -> bool:
        hostile_peers.long_frames(standing.target)
        return standing.cut("paused") > before

    with standing.standing():
        wait_until(is_kept_out)


def test_a_message_of_very_many_frames_ends_its_senders_connection(standing: Besieged) -> None:
    before = standing.refused("frame_count"), standing.cut("frame_count")

    def is_seen() -> bool:
        return standing.refused("frame_count") > before[0] and standing.cut("frame_count") > before[1]

    with standing.standing():
        hostile_peers.many_frames(standing.target, go=lambda: wait_until(is_seen))


def test_a_message_without_an_end_ends_its_senders_connection(without_keys: Besieged) -> None:
    with without_keys.standing():
        hostile_peers.endless_frames(without_keys.target)
        wait_until(lambda: without_keys.cut("endless_message") > 0)


def test_messages_without_an_end_over_many_connections_take_no_more_together(without_keys: Besieged) -> None:
    def cut() -> float:
        return without_keys.cut("endless_message") + without_keys.cut("paused")

    before = cut()

    with without_keys.standing():
        senders = [threading.Thread(target=hostile_peers.endless_frames, args=[without_keys.target]) for _ in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_until(lambda: cut() >= before + 8)


def test_rollouts_of_wrong_shapes_or_rewards_that_are_no_numbers_are_rejected_by_reason(standing: Besieged) -> None:
    reasons = ("malformed", "not_finite", "oversized")
    before = {reason: standing.rejected(reason) for reason in reasons}

    with standing.standing():
        hostile_peers.lies_about_what_was_played(standing.target)
        wait_until(lambda: all(standing.rejected(reason) > before[reason] for reason in reasons))


def test_replayed_numbers_are_refused_by_reason(standing: Besieged) -> None:
    reasons = {"duplicate": 1, "over_credit": 2, "revoked_credit": 1}
    before = {reason: standing.refused(reason) for reason in reasons}

    with standing.standing():
        hostile_peers.replays(standing.target)
        wait_until(lambda: all(standing.refused(name) >= before[name] + count for name, count in reasons.items()))


def test_who_poses_as_another_is_refused_by_reason(standing: Besieged) -> None:
    before = {reason: standing.refused(reason) for reason in ("unknown_session", "unexpected")}

    with standing.standing():
        hostile_peers.poses_as_others(standing.target)
        wait_until(lambda: all(standing.refused(reason) > count for reason, count in before.items()))


@pytest.mark.parametrize("leaves", [True, False], ids=["and leaves", "and stays"])
def test_who_takes_over_a_live_actors_session_stops_it_for_a_moment_only(standing: Besieged, leaves: bool) -> None:
    with standing.standing():
        for _ in range(2):
            wait_until(standing.seated)
            taken = standing.seated()
            for session in taken:
                hostile_peers.takes_over(standing.target, session, leaves=leaves)
            wait_until(partial(standing.are_gone, taken))

    assert standing.account_closes()


def test_handshakes_that_stop_half_way_are_ended_and_counted(standing: Besieged) -> None:
    before = standing.broken()

    with standing.standing():
        hostile_peers.half_open_handshakes(standing.target)
        wait_until(lambda: standing.broken() >= before + hostile_peers.HALF_OPEN)
        wait_until(lambda: standing.open() < 50)


@pytest.mark.parametrize("attack", [hostile_peers.talks_to_a_publisher, hostile_peers.asks_without_end])
def test_who_says_anything_but_a_subscription_to_the_learner_or_asks_under_ever_new_topics_is_cut_off(
    standing: Besieged, attack: Callable[..., None]
) -> None:
    before = standing.cut("unexpected", "learner")

    def is_seen() -> bool:
        return standing.cut("unexpected", "learner") > before

    with standing.standing():
        attack(standing.target, go=lambda: wait_until(is_seen))


def test_five_thousand_connections_are_held_and_the_others_served(standing: Besieged) -> None:
    ended = standing.ended()

    with standing.standing():
        hostile_peers.many_connections(standing.target)
        held = len(standing.target.held)
        if standing.keys_folder is None:
            wait_until(lambda: standing.open() > held)
    assert held > 0.9 * hostile_peers.MANY_CONNECTIONS
    wait_until(lambda: standing.ended() >= ended + held)
    wait_until(lambda: standing.open() < 50)


def test_with_few_open_files_the_gate_says_so_and_ends_the_longest_silent_connections(tmp_path: Path) -> None:
    with besieged(tmp_path, None, most_open_files=300) as standing:
        assert b"few files may be open" in (tmp_path / "gate.log").read_bytes()

        with standing.standing():
            hostile_peers.many_connections(standing.target, number=1_000)
            wait_until(lambda: standing.cut("connections") >= 500)
            assert standing.open() <= 300
