"""The `headrace` command: its words, its mistakes, the run folder and what it starts."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from made_up import a_checkpoint_state, a_run

from headrace_learner import checkpoint_store, checkpoints
from headrace_local import cli, cores, launch, resume, run_folder, train
from headrace_local.processes import ProcessSpecification
from headrace_proto import __version__
from headrace_proto.arguments import parse
from headrace_proto.combinations import require_effect
from headrace_proto.errors import UserError
from headrace_proto.presets import ALGORITHM_DEFAULTS
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import LearnerSettings, TrainSettings

MEMORY = "--replay-max-size 100000000: takes 888.8 GB, 8888 bytes a transition, and the learner has "


def headrace(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "headrace_local", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestCommand:
    @pytest.mark.parametrize("arguments", [[], ["--help"]])
    def test_help_names_every_command(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(arguments) == 0
        printed = capsys.readouterr().out
        assert all(command in printed for command in ("train", "evaluate", "play", "compare"))

    def test_version_is_the_release(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["--version"]) == 0
        assert capsys.readouterr().out == f"headrace {__version__}\n"

    @pytest.mark.parametrize(
        ("arguments", "environment", "line"),
        [
            (["trian"], {}, "trian: no such command; did you mean `headrace train`?"),
            (["dance"], {}, "dance: no such command; allowed: train, evaluate, play, compare"),
            (["train", "--game", "brekout"], {}, "--game brekout: no such game; did you mean Breakout"),
            (["train", "--n-step", "0"], {}, "--n-step 0: must be greater than or equal to 1"),
            (
                ["train"],
                {"HEADRACE_N_STEPS": "3"},
                "HEADRACE_N_STEPS=3: no such setting; did you mean HEADRACE_N_STEP?",
            ),
            (["train", "--capacity", "64"], {}, "--capacity 64: can deadlock"),
            (["train", "--double-q"], {}, "--double-q: does nothing with --algorithm pqn"),
            (["train"], {"HEADRACE_N_STEP": "3"}, "--n-step 3: does nothing with --algorithm pqn"),
            (["train", "--preset", "dqn", "--replay-max-size", "100000000", "--steps", "100000000"], {}, MEMORY),
            (["train", "--name", "../up"], {}, "--name ../up: "),
            (["train", "--resume", "latest"], {}, "--resume latest: no run in runs has a checkpoint"),
            (["compare", "breakout"], {}, "breakout: no such run in runs; there are none"),
            (["train", "--resume", "no/such"], {}, "--resume no/such: no such checkpoint"),
        ],
    )
    def test_a_mistake_gets_one_line_and_status_two(
        self, tmp_path: Path, arguments: list[str], environment: dict[str, str], line: str
    ) -> None:
        ended = headrace(*arguments, cwd=tmp_path, **environment)

        assert ended.returncode == 2
        assert ended.stderr.startswith(f"error: {line}")
        assert ended.stderr.count("\n") == 1
        assert not (tmp_path / "runs").exists()


class TestCapacity:
    def test_the_least_allowed_is_a_batch_less_one_and_a_round_of_one_actor(self) -> None:
        train.check_capacity(_settings("--capacity", "167", "--rollout-length", "5"))  # 128 - 1 + 8 * 5
        with pytest.raises(UserError, match=r"--capacity 166: can deadlock.*allowed: at least 167"):
            train.check_capacity(_settings("--capacity", "166", "--rollout-length", "5"))

    def test_it_counts_the_rollout_length_where_that_is_not_n(self) -> None:
        with pytest.raises(UserError, match="at least 287"):
            train.check_capacity(_settings("--rollout-length", "20", "--capacity", "286"))


class TestDefaults:
    def test_one_core_is_the_learners_and_there_are_two_actors_at_least(self) -> None:
        assert [cores.default_actors(count) for count in (1, 2, 3, 8)] == [2, 2, 2, 7]

    def test_the_learner_computes_on_the_cores_that_actors_leave_eight_at_most(self) -> None:
        threads = [cores.default_learner_threads(count, actors) for count, actors in ((2, 2), (8, 7), (8, 3), (64, 4))]
        assert threads == [1, 1, 5, 8]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], (1, 7)),
            (["--actors", "2"], (6, 2)),
            (["--learner-threads", "3"], (3, 7)),
            (["--deterministic"], (1, 1)),
        ],
    )
    def test_a_machine_of_eight_cores_gives_actors_and_threads_where_nobody_chose_them(
        self, arguments: list[str], expected: tuple[int, int], tmp_path: Path
    ) -> None:
        settings, actors = train.fit_to_cores(_settings(*arguments), 8)
        assert (settings.learner_threads, actors) == expected
        learner = _processes(settings, tmp_path)["learner"].environment
        assert learner["HEADRACE_LEARNER_THREADS"] == learner["OMP_NUM_THREADS"] == str(expected[0])

    @pytest.mark.parametrize(("limit", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)])
    def test_a_containers_limit_counts(
        self, limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)))
        (tmp_path / "cpu.max").write_text(limit + "\n")
        assert cores.usable_cores(tmp_path / "cpu.max") == expected

    @pytest.mark.parametrize("limit", ["max 100000", ""])
    def test_without_a_limit_the_affinity_counts(
        self, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)))
        (tmp_path / "cpu.max").write_text(limit)
        assert cores.usable_cores(tmp_path / "cpu.max") == 4


class TestLaunch:
    @pytest.mark.parametrize(
        "asked",
        [
            *(["--preset", "paper", "--algorithm", algorithm, "--steps", "123"] for algorithm in ALGORITHM_DEFAULTS),
            ["--final-epsilon", "0.001"],
            ["--final-epsilon", "0.001", "--middle-epsilon", "0"],
            ["--final-epsilon", "0.001", "--middle-epsilon", "0.1", "--epsilon-tail-steps", "9"],
        ],
        ids=" ".join,
    )
    def test_the_learner_gets_every_setting_of_the_run(
        self, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = _settings(*asked, "--gradient-clip", "3", "--seed", "9")
        learner = _processes(settings, tmp_path)["learner"]

        for name, value in learner.environment.items():
            monkeypatch.setenv(name, value)
        seen = parse(LearnerSettings, [], "learner")

        require_effect(seen)
        assert {name: getattr(seen, name) for name in RunSettings.model_fields} == {
            name: getattr(settings, name) for name in RunSettings.model_fields
        }
        assert seen.run_dir == tmp_path

    def test_a_restarted_learner_goes_on_from_its_latest_checkpoint(self, tmp_path: Path) -> None:
        assert _processes(_settings(), tmp_path)["learner"].restart_environment == {"HEADRACE_RESUME": "auto"}

    def test_an_actor_gets_the_gates_address_and_nothing_of_the_run(self, tmp_path: Path) -> None:
        given = set(_processes(_settings(), tmp_path)["actor-1"].environment)
        assert given == {
            "OMP_NUM_THREADS",
            "PYTHONUNBUFFERED",
            "HEADRACE_GATE_ADDRESS",
            "HEADRACE_LOG_LEVEL",
            "HEADRACE_METRICS_ADDRESS_FILE",
            "HEADRACE_METRICS_PORT",
        }

    @pytest.mark.parametrize("transport", ["ipc", "tcp"])
    def test_the_ends_of_every_socket_meet(self, transport: str, tmp_path: Path) -> None:
        processes = _processes(_settings("--transport", transport), tmp_path)
        gate, learner = processes["gate"].environment, processes["learner"].environment
        assert gate["HEADRACE_LEARNER_ADDRESS"] == learner["HEADRACE_WEIGHTS_BIND"]
        assert gate["HEADRACE_BATCHES_BIND"] == learner["HEADRACE_BATCHES_ADDRESS"]
        assert gate["HEADRACE_CONTROL_BIND"] == processes["actor-0"].environment["HEADRACE_GATE_ADDRESS"]
        bound = {gate[f"HEADRACE_{name}_BIND"] for name in ("TRANSITIONS", "CONTROL", "BATCHES")}
        assert len(bound | {learner["HEADRACE_WEIGHTS_BIND"]}) == 4
        assert all(address.startswith(f"{transport}://") for address in bound)

    def test_actors_give_way_to_the_gate_and_the_learner(self, tmp_path: Path) -> None:
        niceness = {name: process.niceness for name, process in _processes(_settings(), tmp_path).items()}
        assert niceness.pop("gate") == niceness.pop("learner") == 0
        assert all(nice > 0 for nice in niceness.values())

    def test_paths_of_sockets_are_short_enough_for_the_kernel_wherever_tmpdir_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep = tmp_path / ("d" * 100)
        deep.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(deep))
        with launch.short_temporary_folder() as folder:
            address = launch.make_addresses("ipc", Path(folder)).transitions
        assert len(address.removeprefix("ipc://")) <= launch.LONGEST_IPC_PATH


class TestRunFolder:
    def test_is_named_by_game_algorithm_seed_and_time(self) -> None:
        name = run_folder.default_name(_settings("--seed", "7"), "ALE/SpaceInvaders-v5", datetime(2026, 1, 31, 12))
        assert name == "spaceinvaders-pqn-seed7-20260131-120000"

    def test_an_existing_one_is_not_overwritten(self, tmp_path: Path) -> None:
        run_folder.create(tmp_path, "first")
        with pytest.raises(UserError, match=r"--name first: .* exists; add --resume latest .* or choose another name"):
            run_folder.create(tmp_path, "first")

    def test_only_one_command_holds_a_run(self, tmp_path: Path) -> None:
        with run_folder.locked(tmp_path), pytest.raises(UserError, match="another `headrace train` has this run"):
            run_folder.locked(tmp_path).__enter__()
        with run_folder.locked(tmp_path):
            pass

    @pytest.mark.parametrize("call", ["open", "flock"])
    def test_a_lock_that_cannot_be_had_is_a_persons_mistake(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def refused(*_: object) -> None:
            raise OSError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(*(("fcntl.flock", refused) if call == "flock" else (Path, "open", refused)))
        with pytest.raises(UserError, match=r"lock: cannot .*: Permission denied; "):
            run_folder.locked(tmp_path).__enter__()

    def test_what_was_asked_for_that_cannot_be_written_is_a_persons_mistake(self, tmp_path: Path) -> None:
        (tmp_path / run_folder.SETTINGS_FILE).mkdir()
        with pytest.raises(UserError, match=r"train\.json: cannot write it: Is a directory; make room there, or"):
            run_folder.record(tmp_path, _settings(), actors=1)


class TestResume:
    def test_latest_is_of_the_run_that_saved_last(self, tmp_path: Path) -> None:
        _save(tmp_path / "old", 100, "CartPole-v1", saved_at=1)
        _save(tmp_path / "new", 100, "ALE/Pong-v5", saved_at=2)
        assert _found(tmp_path, "latest").run_dir == tmp_path / "new"

    def test_a_game_asked_for_by_any_of_its_names_chooses_the_run(self, tmp_path: Path) -> None:
        pong = _save(tmp_path / "pong", 1250000, "ALE/Pong-v5", saved_at=1)
        _save(tmp_path / "cart", 1250000, "CartPole-v1", saved_at=2)
        assert _found(tmp_path, "1250000", "--game", "Pong-v0").checkpoint.path == pong

    def test_a_checkpoint_of_another_game_is_refused(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        with pytest.raises(UserError, match=r"--game Pong: .* is of CartPole-v1; leave out --game or --resume"):
            _found(tmp_path, "latest", "--name", "cart", "--game", "Pong")

    def test_a_path_goes_on_in_its_own_run_or_begins_the_one_named(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        assert _found(tmp_path, str(path)).run_dir == tmp_path / "cart"
        assert _found(tmp_path, str(tmp_path / "cart")).checkpoint.path == path
        assert _found(tmp_path, str(path), "--name", "cart").run_dir == tmp_path / "cart"
        assert _found(tmp_path, str(path), "--name", "fork").run_dir is None

    def test_a_run_that_begins_with_anothers_checkpoint_has_a_copy(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        checkpoint = checkpoints.read(path)
        assert run_folder.adopt(tmp_path / "cart", checkpoint) == path
        assert run_folder.adopt(tmp_path / "fork", checkpoint) == tmp_path / "fork" / "checkpoints" / path.name
        assert checkpoint_store.folders(tmp_path / "fork")

    @pytest.mark.parametrize("failure", ["no room", "gone"])
    def test_a_checkpoint_that_cannot_be_copied_leaves_no_run_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
    ) -> None:
        checkpoint = checkpoints.read(_save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1))
        fork = run_folder.create(tmp_path, "fork")
        if failure == "gone":
            shutil.rmtree(checkpoint.path)
        else:
            monkeypatch.setattr("shutil.copytree", functools.partial(shutil.copytree, copy_function=no_room))
        reason = {"no room": "No space left on device", "gone": "No such file or directory"}[failure]
        with pytest.raises(
            UserError, match=f"step-000000100: cannot be copied to .*: .*{reason}.*; make room there"
        ) as told:
            run_folder.adopt(fork, checkpoint)
        assert "\n" not in str(told.value)
        assert not fork.exists()

    def test_a_checkpoint_is_copied_whole_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        checkpoint = checkpoints.read(_save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1))
        seen: list[dict[int, Path]] = []
        copy = shutil.copy2

        def looked_at(source: str, destination: str, **options: bool) -> str:
            seen.append(checkpoint_store.folders(tmp_path / "fork"))
            return str(copy(source, destination, **options))

        monkeypatch.setattr("shutil.copytree", functools.partial(shutil.copytree, copy_function=looked_at))
        run_folder.adopt(tmp_path / "fork", checkpoint)
        assert seen == [{}, {}]

    def test_a_checkpoint_away_from_any_run_makes_a_new_one(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1).rename(tmp_path / "copied")
        assert _found(tmp_path, str(path)).run_dir is None

    def test_a_run_that_a_training_deletes_meanwhile_is_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = _save(tmp_path / "gone", 100, "CartPole-v1", saved_at=2)
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        stat = Path.stat

        def deleted_before_it_is_looked_at(path: Path, **options: bool) -> os.stat_result:
            if path == gone:
                shutil.rmtree(path, ignore_errors=True)
            return stat(path, **options)

        monkeypatch.setattr(Path, "stat", deleted_before_it_is_looked_at)
        assert _found(tmp_path, "latest").run_dir == tmp_path / "cart"

    def test_auto_starts_anew_where_there_is_nothing(self, tmp_path: Path) -> None:
        assert resume.find(_settings("--runs", str(tmp_path), "--resume", "auto")) is None

    def test_the_settings_of_the_checkpoint_hold_where_no_flag_speaks(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest", "--seed", "3"])
        assert (settings.game, settings.discount, settings.seed) == ("CartPole-v1", 0.5, 3)

    def test_gate_and_actors_go_on_as_the_run_was_last_started_where_no_flag_speaks(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        limits = ("--capacity", "900", "--straggler-updates", "5", "--lease-seconds", "20")
        run_folder.record(tmp_path / "cart", _settings(*limits), actors=3)

        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest", "--lease-seconds", "7"])

        assert (settings.capacity, settings.straggler_updates, settings.actors) == (900, 5, 3)
        assert settings.lease_seconds == 7

    def test_the_machines_settings_are_not_the_runs(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        machine = ("--transport", "tcp", "--device", "cpu", "--learner-threads", "5", "--log-level", "debug")
        run_folder.record(tmp_path / "cart", _settings(*machine), actors=3)

        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest"])

        assert (settings.transport, settings.device, settings.log_level) == ("ipc", "auto", "info")
        assert settings.learner_threads is None

    def test_a_preset_that_is_asked_for_wins_over_what_was_recorded(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        run_folder.record(tmp_path / "cart", _settings("--capacity", "900"), actors=3)
        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest", "--preset", "gpu"])
        assert settings.capacity == 2048

    def test_a_run_that_takes_turns_from_now_on_has_one_actor_whatever_it_had(self, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        run_folder.record(tmp_path / "cart", _settings(), actors=3)
        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest", "--deterministic"])
        assert settings.actors is None

    @pytest.mark.parametrize("preset", ["gpu", "ape-x"])
    def test_a_run_of_a_preset_that_recorded_nothing_has_the_presets_capacity(
        self, preset: str, tmp_path: Path
    ) -> None:
        asked = _settings("--preset", preset, "--game", "CartPole-v1")
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1, settings=asked.model_dump(mode="json"))
        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", "latest"])
        train.check_capacity(settings)
        assert settings.capacity == asked.capacity

    def test_a_run_that_begins_with_anothers_checkpoint_has_its_gate_too(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        run_folder.record(tmp_path / "cart", _settings("--capacity", "900"), actors=3)
        settings, _ = train.read_settings(["--runs", str(tmp_path), "--resume", str(path), "--name", "fork"])
        assert settings.capacity == 900

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 3}'])
    def test_a_damaged_record_is_said_and_what_to_do(self, content: str, tmp_path: Path) -> None:
        _save(tmp_path / "cart", 100, "CartPole-v1", saved_at=1)
        (tmp_path / "cart" / "train.json").write_text(content)
        with pytest.raises(UserError, match=r"train\.json: is damaged; .*--capacity.*: remove it, and give those"):
            train.read_settings(["--runs", str(tmp_path), "--resume", "latest"])


def no_room(source: str, destination: str, **options: bool) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


def _settings(*arguments: str) -> TrainSettings:
    return parse(TrainSettings, arguments, "headrace train")


def _processes(settings: TrainSettings, folder: Path) -> dict[str, ProcessSpecification]:
    processes = launch.specifications(settings, 2, folder, folder, None)
    return {process.name: process for process in processes}


def _found(runs: Path, choice: str, *arguments: str) -> resume.Resumption:
    found = resume.find(_settings("--runs", str(runs), "--resume", choice, *arguments))
    assert found is not None
    return found


def _save(run_dir: Path, step: int, game: str, saved_at: float, settings: dict[str, Any] | None = None) -> Path:
    run = a_run(
        game=game,
        environments_per_actor=8,
        batch_size=64,
        frame_skip=4,
        noop_max=30,
        max_episode_frames=108_000,
        reward_clip=1.0,
        epsilon_decay_steps=1000,
    )
    settings = {"game": game, "discount": 0.5, "seed": 1, **(settings or {})}
    state = a_checkpoint_state(step, updates=1, weights_version=1, run=run, settings=settings)
    path = checkpoints.write(checkpoint_store.folder_of(run_dir, step), state, {}).path
    os.utime(path, (saved_at, saved_at))
    return path
