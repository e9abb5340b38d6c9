"""Checkpoints: whole or not at all, found again, kept as asked, and exact."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from made_up import a_batch, a_checkpoint_state, a_rollout, a_run
from prometheus_client import CollectorRegistry

from headrace_learner import checkpoint_store, checkpoints, saving
from headrace_learner.batches import Batch
from headrace_learner.checkpoints import MODEL_FILE, STATE_FILE, Checkpoint, CheckpointState, InvalidCheckpointError
from headrace_learner.run import specify
from headrace_learner.saving import Saver
from headrace_learner.training import Learner
from headrace_proto.arguments import parse
from headrace_proto.errors import NonFiniteError, UserError
from headrace_proto.metrics import LearnerMetrics
from headrace_proto.settings import LearnerSettings, TrainSettings
from headrace_proto.specification import LSTM_UNITS

RUN = a_run()


def a_state(env_steps: int = 0, returns: list[float] | None = None, **changes: Any) -> CheckpointState:
    games = returns or []
    counted = {"updates": env_steps // 5, "episodes": len(games), "weights_version": 0, "recent_returns": games}
    return a_checkpoint_state(env_steps, **counted | changes)


def a_checkpoint(run_dir: Path, env_steps: int, returns: list[float] | None = None, save_every: int = 100) -> Path:
    folder = checkpoint_store.folder_of(run_dir, env_steps)
    state = a_state(env_steps, returns, settings={"save_every": save_every})
    return checkpoints.write(folder, state, {"online/x": torch.tensor([float(env_steps)])}).path


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def steps(run_dir: Path) -> list[int]:
    return list(checkpoint_store.folders(run_dir))


def resolved(run_dir: Path, choice: str) -> int | None:
    checkpoint = checkpoint_store.resolve(run_dir, choice, Warnings())
    return checkpoint.state.env_steps if checkpoint else None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = a_checkpoint(tmp_path, 250_013, [1.0, 2.0])
    assert folder.name == "step-000250013"
    checkpoint = checkpoints.read(folder)
    assert checkpoint.state.run == RUN
    assert checkpoint.state.return_mean == 1.5
    assert checkpoint.tensors()["online/x"].tolist() == [250_013.0]


def damage_by_cutting(folder: Path) -> None:
    model = folder / MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1])


def damage_by_a_flipped_bit(folder: Path) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[-1] ^= 1
    (folder / MODEL_FILE).write_bytes(bytes(content))


def damage_by_no_model(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


def damage_by_half_a_state(folder: Path) -> None:
    (folder / STATE_FILE).write_text((folder / STATE_FILE).read_text()[:40])


def damage_by_a_state_without_counters(folder: Path) -> None:
    state = json.loads((folder / STATE_FILE).read_text())
    del state["env_steps"]
    (folder / STATE_FILE).write_text(json.dumps(state))


DAMAGES = [
    damage_by_cutting,
    damage_by_a_flipped_bit,
    damage_by_no_model,
    damage_by_half_a_state,
    damage_by_a_state_without_counters,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_taken_saying_so(tmp_path: Path, damage: Any) -> None:
    a_checkpoint(tmp_path, 100)
    damage(a_checkpoint(tmp_path, 200))
    warnings = Warnings()
    checkpoint = checkpoint_store.resolve(tmp_path, "latest", warnings)
    assert checkpoint is not None
    assert checkpoint.state.env_steps == 100
    assert len(warnings) == 1
    assert "step-000000200" in warnings[0]
    with pytest.raises(UserError, match="step-000000200"):
        checkpoint_store.resolve(tmp_path, "200", warnings)


def with_model(folder: Path, model: bytes) -> None:
    """Put another model into a checkpoint, with its checksum: nothing is damaged, it was meant so."""
    (folder / MODEL_FILE).write_bytes(model)
    state = json.loads((folder / STATE_FILE).read_text()) | {"model_sha256": hashlib.sha256(model).hexdigest()}
    (folder / STATE_FILE).write_text(json.dumps(state))


def a_model(dtype: str, shape: list[int], size: int) -> bytes:
    header = json.dumps({"online/x": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


LIES = [
    pytest.param(a_model("F32", [3], 8), id="shape"),
    pytest.param(a_model("F32", [2], 8)[:-1], id="cut short"),
    pytest.param(a_model("F32", [2**40, 2**40], 8), id="huge"),
    pytest.param((2**40).to_bytes(8, "little") + b"{}", id="header"),
    pytest.param(b"", id="empty"),
]


@pytest.mark.parametrize("model", LIES)
def test_a_checkpoint_that_lies_about_its_shapes_is_refused_though_its_checksum_is_right(
    tmp_path: Path, model: bytes
) -> None:
    a_checkpoint(tmp_path, 100)
    with_model(a_checkpoint(tmp_path, 200), model)
    warnings = Warnings()

    assert resolved(tmp_path, "latest") == 100
    with pytest.raises(UserError, match=r"step-000000200.*not a checkpoint's"):
        checkpoint_store.resolve(tmp_path, "200", warnings)


def test_tensors_that_torch_cannot_hold_are_refused_when_they_are_loaded(tmp_path: Path) -> None:
    folder = a_checkpoint(tmp_path, 100)
    with_model(folder, a_model("F6_E2M3", [4], 3))

    with pytest.raises(InvalidCheckpointError, match=r"step-000000100.*not a checkpoint's"):
        checkpoints.read(folder).tensors()
    with pytest.raises(UserError, match="cannot use the checkpoint"):
        saving.restore(a_learner(), checkpoints.read(folder))


def test_a_checkpoint_that_is_gone_when_a_learner_loads_it_is_a_persons_mistake(tmp_path: Path) -> None:
    checkpoint = checkpoints.read(a_checkpoint(tmp_path, 100))
    (checkpoint.path / MODEL_FILE).unlink()
    with pytest.raises(UserError, match=r"step-000000100 can be read no more: .*; choose another, or latest"):
        saving.restore(a_learner(), checkpoint)


@pytest.mark.parametrize("change", ["no random numbers", "other shapes", "odd name", "too many"])
def test_a_checkpoint_of_other_tensors_than_a_learners_is_a_persons_mistake(tmp_path: Path, change: str) -> None:
    learner = a_learner()
    learner.train(batches_of(1)[0])
    tensors = learner.tensors()
    if change == "no random numbers":
        del tensors["random/torch"]
    else:
        name = {"other shapes": "0/exp_avg", "odd name": "a/b/c", "too many": "99/exp_avg"}[change]
        tensors[f"optimizer/{name}"] = torch.zeros(2)
    checkpoint = checkpoints.write(tmp_path / "step-8", a_state(8), tensors)

    with pytest.raises(UserError, match="cannot use the checkpoint"):
        saving.restore(a_learner(), checkpoint)


def test_an_interrupted_write_leaves_the_old_checkpoints_and_nothing_that_looks_like_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_checkpoint(tmp_path, 100)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        a_checkpoint(tmp_path, 200)
    assert steps(tmp_path) == [100]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000100"]


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_written_over(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".step-000000100.partial"
    left.mkdir(parents=True)
    (left / MODEL_FILE).write_bytes(b"half")
    assert resolved(tmp_path, "auto") is None
    a_checkpoint(tmp_path, 100)
    assert resolved(tmp_path, "latest") == 100
    assert not left.exists()


def test_what_killed_writers_left_is_removed_and_whole_checkpoints_stay(tmp_path: Path) -> None:
    a_checkpoint(tmp_path, 100)
    left = tmp_path / "checkpoints" / ".step-000000200.partial"
    left.mkdir()
    (left / MODEL_FILE).write_bytes(b"half")
    checkpoint_store.remove_partial(tmp_path)
    assert not left.exists()
    assert steps(tmp_path) == [100]


def test_a_damaged_folder_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    damage_by_cutting(a_checkpoint(tmp_path, 100))
    a_checkpoint(tmp_path, 100)
    assert resolved(tmp_path, "100") == 100


def test_latest_auto_paths_and_steps_are_understood(tmp_path: Path) -> None:
    for step in (99, 249_984, 499_968):
        a_checkpoint(tmp_path, step)
    assert resolved(tmp_path, "latest") == 499_968
    assert resolved(tmp_path, "auto") == 499_968
    assert resolved(tmp_path, "99") == 99
    assert resolved(tmp_path / "elsewhere", str(tmp_path)) == 499_968
    assert resolved(tmp_path, str(checkpoint_store.folder_of(tmp_path, 99))) == 99
    assert resolved(tmp_path, str(checkpoint_store.folder_of(tmp_path, 99) / MODEL_FILE)) == 99


def test_a_step_number_means_the_first_checkpoint_at_or_past_it_as_batches_are_whole_d9(tmp_path: Path) -> None:
    for step in (1_000_013, 1_250_020, 1_500_001):
        a_checkpoint(tmp_path, step, save_every=250_000)
    assert resolved(tmp_path, "1250000") == 1_250_020


@pytest.mark.parametrize("step", ["300", "1000"])
def test_a_step_without_a_checkpoint_is_a_mistake_that_lists_those_there_are(tmp_path: Path, step: str) -> None:
    a_checkpoint(tmp_path, 100)
    a_checkpoint(tmp_path, 900)
    with pytest.raises(UserError, match=r"there are: 100, 900"):
        resolved(tmp_path, step)


def test_how_far_past_a_step_a_checkpoint_may_lie_is_the_runs_own_save_every(tmp_path: Path) -> None:
    a_checkpoint(tmp_path, 1_000_000, save_every=1_000_000)
    assert resolved(tmp_path, "200000") == 1_000_000


def test_latest_of_nothing_is_a_mistake_and_auto_of_nothing_starts_anew(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        resolved(tmp_path, "latest")
    assert resolved(tmp_path, "auto") is None
    with pytest.raises(UserError, match="no such path"):
        resolved(tmp_path, "lattest")


def test_the_newest_and_the_best_by_return_are_kept(tmp_path: Path) -> None:
    scores = {100: [5.0] * 10, 200: [50.0] * 9, 300: [20.0] * 10, 400: [1.0] * 10, 500: [2.0] * 10, 600: [3.0] * 100}
    for step, returns in scores.items():
        a_checkpoint(tmp_path, step, returns)
    checkpoint_store.retain(tmp_path, keep=2)
    assert steps(tmp_path) == [300, 500, 600], "200 has the best mean, but of fewer than ten games"


def by_another_release(folder: Path) -> None:
    state = json.loads((folder / STATE_FILE).read_text())
    (folder / STATE_FILE).write_text(json.dumps(state | {"a_newer_field": 1}))


def in_another_format(folder: Path) -> None:
    state = json.loads((folder / STATE_FILE).read_text())
    (folder / STATE_FILE).write_text(json.dumps(state | {"format": 2}))


def unreadable(folder: Path) -> None:
    (folder / STATE_FILE).unlink()
    (folder / STATE_FILE).mkdir()


@pytest.mark.parametrize("choice", ["auto", "latest"])
@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        (by_another_release, r"a_newer_field"),
        (in_another_format, r"format"),
        (unreadable, r"Is a directory"),
        (damage_by_cutting, r"cut short or damaged"),
    ],
)
def test_a_run_whose_checkpoints_can_all_not_be_used_is_not_begun_anew_beside_them(
    tmp_path: Path, choice: str, unusable: Callable[[Path], None], why: str
) -> None:
    for step in (100, 200):
        unusable(a_checkpoint(tmp_path, step))
    with pytest.raises(
        UserError, match=rf"none of them can be used; the newest: .*step-000000200: .*{why}.*; go on with"
    ):
        resolved(tmp_path, choice)
    assert steps(tmp_path) == [100, 200]


@pytest.mark.parametrize("choice", ["auto", "latest", "100"])
def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    a_checkpoint(tmp_path, 100)

    def broken(path: Path) -> Iterator[Path]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", broken)
    with pytest.raises(UserError, match="cannot be listed: Input/output error; see to the disk"):
        resolved(tmp_path, choice)


@pytest.mark.parametrize("unusable", [by_another_release, unreadable, damage_by_a_flipped_bit])
def test_what_cannot_be_read_is_neither_counted_nor_deleted(tmp_path: Path, unusable: Callable[[Path], None]) -> None:
    for step in (10, 20, 30):
        a_checkpoint(tmp_path, step)
    for step in (100, 200, 300):
        unusable(a_checkpoint(tmp_path, step))
    checkpoint_store.retain(tmp_path, keep=2)
    assert steps(tmp_path) == [20, 30, 100, 200, 300]


def test_a_checkpoint_that_is_half_deleted_when_its_learner_is_killed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_checkpoint(tmp_path, 100)
    a_checkpoint(tmp_path, 200)

    def killed(folder: Path, ignore_errors: bool = False) -> None:
        if folder.exists():
            (folder / STATE_FILE).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint_store.retain(tmp_path, keep=1)
    assert steps(tmp_path) == [200]
    checkpoint_store.remove_partial(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000200"]


def test_a_checkpoint_that_a_training_deletes_meanwhile_is_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_checkpoint(tmp_path, 100)
    read = checkpoints.read

    def saved_meanwhile(folder: Path) -> Checkpoint:
        if steps(tmp_path)[-1] != 200:
            a_checkpoint(tmp_path, 200)
            checkpoint_store.retain(tmp_path, keep=1)
        return read(folder)

    monkeypatch.setattr("headrace_learner.checkpoints.read", saved_meanwhile)
    warnings = Warnings()
    newest = checkpoint_store.resolve(tmp_path, "auto", warnings)
    assert newest is not None
    assert (newest.state.env_steps, warnings) == (200, [])


def test_checkpoints_past_the_one_gone_on_from_are_set_aside_not_lost(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        a_checkpoint(tmp_path, step)
    moved = checkpoint_store.set_aside_after(tmp_path, 100)
    assert steps(tmp_path) == [100]
    assert [checkpoints.read(path).state.env_steps for path in moved] == [200, 300]


def test_a_checkpoint_from_before_a_setting_was_goes_on_as_it_was() -> None:
    settings = TrainSettings(game="Pong", final_epsilon=0.001)
    later = {"precision", "middle_epsilon", "epsilon_tail_steps", "bootstrap"}
    state = a_checkpoint_state(
        100, run=specify(settings), settings=settings.model_dump(mode="json", exclude=later)
    ).model_dump(mode="json")
    state["run"] = {name: value for name, value in state["run"].items() if name not in later}

    earlier = CheckpointState.model_validate(state)

    resumed = parse(TrainSettings, [], "headrace train", earlier.run_settings())
    assert resumed.bootstrap == "newest"
    for run in (earlier.run, specify(resumed)):
        assert (run.precision, run.final_epsilon, run.middle_epsilon, run.epsilon_tail_steps) == (
            "float32",
            0.001,
            0.0,
            0,
        )


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({"game": "Acrobot-v1"}, ["0", "1"], r"game CartPole-v1, this run has Acrobot-v1"),
        ({"actions": 3}, ["0", "1", "2"], r"actions 0, 1, this run has 0, 1, 2"),
        ({"network": "dqn-2013"}, ["0", "1"], r"network mlp, this run has dqn-2013"),
        ({"layer_norm": True}, ["0", "1"], r"layer normalisation False, this run has True"),
        ({"precision": "bfloat16"}, ["0", "1"], r"the precision float32, this run has bfloat16"),
        ({"head": "policy"}, ["0", "1"], r"a head values, this run has policy"),
        ({"lstm": True}, ["0", "1"], r"an LSTM False, this run has True"),
        ({"frame_shape": [6]}, ["0", "1"], r"shape \(1, 4\), this run has \(1, 6\)"),
    ],
)
def test_a_checkpoint_of_another_game_is_refused_naming_both_d13(
    changes: dict[str, Any], names: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        checkpoints.require_same_game(a_state(), a_run(**changes), names)


# Exact resumption.


def a_learner(**changes: Any) -> Learner:
    """Its schedules all end within the steps that the tests train."""
    settings = {"game": "CartPole-v1", "steps": 60, "learning_rate": 0.01, "target_update_every": 20}
    return Learner(LearnerSettings(**{**settings, **changes}), RUN, torch.device("cpu"))


def batches_of(count: int) -> list[Batch]:
    ended = {"terminated": True, "episode_return": 7.0, "episode_length": 9}
    return [a_batch(RUN, [a_rollout(RUN, 5, seed), a_rollout(RUN, 3, seed + 1000, **ended)]) for seed in range(count)]


def a_saver(learner: Learner, run_dir: Path) -> Saver:
    settings = LearnerSettings(**{**learner.settings.model_dump(), "run_dir": run_dir})
    return Saver(settings, RUN, ["0", "1"], LearnerMetrics(CollectorRegistry()), structlog.get_logger())


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "rmsprop-keras"])
@pytest.mark.parametrize("decay_steps", [60, 1000])
def test_training_on_from_a_checkpoint_is_bit_for_bit_training_straight_through_d3(
    tmp_path: Path, optimizer: str, decay_steps: int
) -> None:
    changes = {"optimizer": optimizer, "learning_rate_decay_steps": decay_steps}
    straight, first = a_learner(**changes), a_learner(**changes)
    everything = batches_of(12)
    rates = [[update.learning_rate for update in straight.train(batch)] for batch in everything]
    for batch in everything[:5]:
        first.train(batch)
    a_saver(first, tmp_path).save(first, weights_version=5)

    second = a_learner(**changes, seed=99)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None
    saving.restore(second, checkpoint)
    resumed_rates = [[update.learning_rate for update in second.train(batch)] for batch in everything[5:]]

    assert resumed_rates == rates[5:]
    assert (rates[-1][-1] == 0.0) == (decay_steps == 60)
    assert second.counters == straight.counters
    expected = straight.tensors()
    actual = second.tensors()
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


@pytest.mark.parametrize("chosen", [[], ["--learning-rate-decay-steps", "50", "--epsilon-decay-steps", "7"]])
def test_other_steps_change_no_schedule_of_a_resumed_run_but_a_flag_does(tmp_path: Path, chosen: list[str]) -> None:
    learner = a_learner(steps=60, final_epsilon=0.001)
    a_saver(learner, tmp_path).save_first(learner)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None
    settings = parse(TrainSettings, ["--steps", "600", *chosen], "headrace train", checkpoint.state.run_settings())
    assert settings.steps == 600
    schedules = (
        settings.decay_steps_of_learning_rate,
        settings.decay_steps_of_epsilon,
        settings.tail_steps_of_epsilon,
    )
    assert schedules == ((50, 7, 48) if chosen else (60, 12, 48))


def test_pixels_resume_bit_for_bit_with_fused_adam_and_channels_last(tmp_path: Path) -> None:
    run = a_run(frame_shape=[36, 36], frame_dtype="|u1", frame_stack=3, network="dqn-2013")
    everything = [a_batch(run, [a_rollout(run, 5, seed)]) for seed in range(4)]
    settings = LearnerSettings(game="CartPole-v1", learning_rate=0.01)
    straight, first, second = (Learner(settings, run, torch.device("cpu")) for _ in range(3))
    for batch in everything:
        straight.train(batch)
    for batch in everything[:2]:
        first.train(batch)
    saving.restore(second, checkpoints.write(tmp_path / "step-10", a_state(10), first.tensors()))
    for batch in everything[2:]:
        second.train(batch)
    for mine, other in zip(second.online.parameters(), straight.online.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_an_lstm_resumes_bit_for_bit(tmp_path: Path) -> None:
    run = a_run(head="policy", lstm=True)
    known = np.full((2, LSTM_UNITS), 0.25, np.float32)
    everything = [a_batch(run, [a_rollout(run, 5, seed, recurrent_state=known)]) for seed in range(4)]
    settings = LearnerSettings(game="CartPole-v1", algorithm="a3c", lstm=True)
    straight, first, second = (Learner(settings, run, torch.device("cpu")) for _ in range(3))
    for batch in everything:
        straight.train(batch)
    for batch in everything[:2]:
        first.train(batch)
    saving.restore(second, checkpoints.write(tmp_path / "step-10", a_state(10), first.tensors()))
    for batch in everything[2:]:
        second.train(batch)
    for mine, other in zip(second.online.parameters(), straight.online.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_the_target_network_is_copied_when_its_multiple_is_reached() -> None:
    learner = a_learner(algorithm="nstep-q", optimizer="adam", target_update_every=20)  # RAdam does not move at first
    before = [value.clone() for value in learner.target.parameters()]
    is_copied = []
    for batch in batches_of(5):
        learner.train(batch)
        is_copied.append(not all(map(torch.equal, learner.target.parameters(), before)))
        before = [value.clone() for value in learner.target.parameters()]
    assert is_copied == [False, False, True, False, True], "after 24 and 40 env_steps"


def test_random_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    learner = a_learner()
    a_saver(learner, tmp_path).save_first(learner)
    expected = torch.rand(3, generator=learner.random)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None
    resumed = a_learner(seed=7)
    saving.restore(resumed, checkpoint)
    assert torch.equal(torch.rand(3, generator=resumed.random), expected)


def test_a_learner_of_another_optimizer_is_refused_naming_both(tmp_path: Path) -> None:
    learner = a_learner(optimizer="adam")
    a_saver(learner, tmp_path).save_first(learner)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None
    with pytest.raises(UserError, match=r"--optimizer rmsprop.*trained with adam"):
        saving.restore(a_learner(optimizer="rmsprop"), checkpoint)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    learner = a_learner(loss="squared")
    learner.train(batches_of(1)[0])
    before = {name: value.clone() for name, value in learner.tensors().items() if name != "random/torch"}
    counters = learner.counters.env_steps
    huge = replace(a_batch(RUN, [a_rollout(RUN, 5)]), rewards=torch.full((5,), 3e38).numpy())
    with pytest.raises(NonFiniteError, match="env_steps 8: the loss is inf"):
        learner.train(huge)
    assert learner.counters.env_steps == counters
    assert all(torch.equal(value, learner.tensors()[name]) for name, value in before.items())


def test_a_network_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    learner = a_learner()
    saver = a_saver(learner, tmp_path)
    saver.save_first(learner)
    learner.counters.env_steps = 8
    next(learner.online.parameters()).data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="not saved"):
        saver.save(learner, 1)
    assert steps(tmp_path) == [0]


def test_a_disk_that_fails_stops_no_training_and_the_earlier_checkpoints_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = a_learner()
    saver = a_saver(learner, tmp_path)
    saver.save_first(learner)
    learner.train(batches_of(1)[0])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as lines:
        patch.setattr("os.fsync", full)
        saver.save(learner, 1)
    assert steps(tmp_path) == [0]
    assert [line["log_level"] for line in lines] == ["error"]
    saver.save(learner, 1)
    assert steps(tmp_path) == [0, 8]


def test_a_folder_that_cannot_be_written_at_start_is_a_persons_mistake(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    learner = a_learner()
    with pytest.raises(UserError, match="--run-dir"):
        a_saver(learner, tmp_path).save_first(learner)


def test_an_unreadable_checkpoint_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpointError, match=r"state\.json: No such file"):
        checkpoints.read(tmp_path)


def test_an_algorithm_with_a_target_network_goes_on_from_one_without(tmp_path: Path) -> None:
    first = a_learner(algorithm="pqn", layer_norm=False)
    a_saver(first, tmp_path).save_first(first)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None
    second = a_learner(algorithm="nstep-q", optimizer="radam", seed=9)
    saving.restore(second, checkpoint)
    for mine, saved in zip(second.target.parameters(), first.online.parameters(), strict=True):
        assert torch.equal(mine, saved)


# The weights by which actors play.


def test_actors_play_by_a_running_mean_of_the_weights() -> None:
    learner = a_learner(weights_average=0.75, minibatches=1)
    before = [value.clone() for value in learner.online.parameters()]
    learner.train(batches_of(1)[0])
    for first, trained, mean in zip(before, learner.online.parameters(), learner.behaviour.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.75 * first + 0.25 * trained)


def test_without_a_mean_actors_play_by_the_newest_weights() -> None:
    learner = a_learner(weights_average=0.0)
    assert learner.behaviour is learner.online
    assert not any(name.startswith("behaviour/") for name in learner.tensors())


def test_a_mean_begins_with_the_network_of_a_checkpoint_without_one(tmp_path: Path) -> None:
    learner = a_learner(weights_average=0.0)
    learner.train(batches_of(1)[0])
    a_saver(learner, tmp_path).save(learner, weights_version=1)
    checkpoint = checkpoint_store.latest(tmp_path, Warnings())
    assert checkpoint is not None

    resumed = a_learner(weights_average=0.5)
    saving.restore(resumed, checkpoint)
    assert all(map(torch.equal, resumed.behaviour.parameters(), learner.online.parameters()))
