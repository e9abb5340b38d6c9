"""The services of a run on TCP with keys: it trains to its end, with an encrypted wire and keys changed on the way."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from separate_services import Services
from waiting import wait_until

from headrace_proto import keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.make(tmp_path / "keys")
    return tmp_path


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


@pytest.mark.timeout(400)
def test_a_run_trains_with_keys_and_every_role_can_have_a_new_one_without_a_restart_of_the_others(folder: Path) -> None:
    keys_folder = folder / "keys"
    with ExitStack() as stack:
        services = Services(folder, stack)
        gate, learner, actor = (services.start(role, keys_folder) for role in ("gate", "learner", "actor"))
        services.trains_on()

        keys.rotate(keys_folder, ["gate"])
        assert stop(gate) == 0
        gate = services.start("gate", keys_folder)
        services.trains_on()

        keys.rotate(keys_folder, ["learner"])
        assert stop(learner) == 4
        learner = services.start("learner", keys_folder)
        services.trains_on()

        keys.rotate(keys_folder, ["actor"])
        assert stop(actor) == 0
        actor = services.start("actor", keys_folder)
        services.trains_on()

        keys.retire(keys_folder, keys.ROLES)
        assert stop(actor) == 0
        actor = services.start("actor", keys_folder)
        services.trains_on()
        assert [stop(actor), stop(learner), stop(gate)] == [0, 4, 0]


@pytest.mark.timeout(200)
def test_an_actor_of_another_folder_of_keys_trains_nothing_and_is_counted(folder: Path, tmp_path: Path) -> None:
    keys.make(tmp_path / "foreign")
    with ExitStack() as stack:
        services = Services(folder, stack)
        for role in ("gate", "learner"):
            services.start(role, folder / "keys")
        services.start("actor", tmp_path / "foreign")

        wait_until(lambda: b"handshake failed" in (folder / "actor.log").read_bytes(), seconds=60)
        wait_until(lambda: services.value("gate", "headrace_handshake_failures_total") > 1, seconds=60)
        wait_until(lambda: services.value("learner", "headrace_learner_published_bytes_total") > 0, seconds=60)

        assert services.value("gate", "headrace_gate_actors") == 0
        assert services.value("gate", "headrace_gate_promised_transitions_total") == 0
        services.start("actor", folder / "keys")
        services.trains_on()
