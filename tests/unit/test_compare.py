"""`headrace compare`: which runs are one curve, its mean and confidence, time of training, human scores, files."""

from __future__ import annotations

import csv
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ale_py import roms
from hypothesis import given
from hypothesis import strategies as st

from headrace_learner.training_log import METRICS_FILE, Row, TrainingLog
from headrace_local import compare, confidence, human_normalised, recorded_run, run_folder, run_groups
from headrace_local.confidence import mean_curve
from headrace_local.recorded_run import RecordedRun, training_seconds
from headrace_proto.arguments import parse
from headrace_proto.environments import find_game
from headrace_proto.errors import UserError
from headrace_proto.settings import LearnerSettings, TrainSettings

START = 1_800_000_000.0


def write_run(
    folder: Path,
    *flags: str,
    returns: Sequence[float | None] = (None, 2.0, 4.0),
    seconds: Sequence[float] = (),
    episodes: Sequence[int] = (),
) -> Path:
    """A run's folder as learner and command write it: a row each 5,000 steps, 5 seconds and 100 games, or as given."""
    folder.mkdir(parents=True)
    settings = parse(TrainSettings, flags, "headrace train")
    learner = {name: value for name, value in settings if name in LearnerSettings.model_fields}
    (folder / "settings.json").write_text(json.dumps({"settings": learner}))
    run_folder.record(folder, settings, actors=3)
    log = TrainingLog(folder, 0)
    for index, score in enumerate(returns, start=1):
        time = START + (seconds[index - 1] if seconds else 5.0 * index)
        log.row(a_row(time, 5000 * index, episodes[index - 1] if episodes else 100 * index, score))
    log.close()
    return folder


def a_row(time: float, env_steps: int, episodes: int, score: float | None) -> Row:
    return Row(time, env_steps, 4 * env_steps, 1, episodes, score, None, None, None, None, None, None, None, 1000.0)


def read_run(folder: Path, *flags: str) -> RecordedRun:
    return recorded_run.read(write_run(folder, *flags))


class TestTime:
    def test_a_run_lasts_from_the_start_of_its_first_row(self) -> None:
        assert training_seconds(np.array([100.0, 105.0, 111.0])).tolist() == [5, 10, 16]

    def test_a_pause_counts_as_one_row(self) -> None:
        assert training_seconds(np.array([100.0, 105.0, 9105.0, 9110.0])).tolist() == [5, 10, 15, 20]

    def test_a_restart_within_a_minute_is_part_of_training(self) -> None:
        assert training_seconds(np.array([100.0, 160.0])).tolist() == [5, 65]

    def test_a_clock_that_is_set_back_takes_no_time_away(self) -> None:
        assert training_seconds(np.array([100.0, 40.0, 45.0])).tolist() == [5, 5, 10]

    # Whole seconds, whose sums and differences are exact: 60 is the longest gap that is none.
    @given(st.lists(st.integers(0, 60), min_size=1, max_size=20), st.integers(0, 19), st.integers(61, 10**6))
    def test_however_long_a_pause_it_adds_as_much(self, gaps: list[int], where: int, pause: int) -> None:
        def last(pause: int) -> float:
            paused = [gap if index != where % len(gaps) else pause for index, gap in enumerate(gaps)]
            return float(training_seconds(np.cumsum([0.0, *paused]))[-1])

        assert last(pause) == pytest.approx(last(1000), abs=1e-6)


class TestConfidence:
    @pytest.mark.parametrize(
        ("degrees", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)]
    )
    def test_students_t_is_the_one_of_the_tables(self, degrees: int, t: float) -> None:
        assert confidence.student_t(degrees) == pytest.approx(t, abs=5e-4)

    def test_three_seeds_have_a_mean_and_a_band_as_worked_out_by_hand(self) -> None:
        x = np.array([0.0, 10.0])
        curve = mean_curve([(x, np.array([0.0, y])) for y in (1.0, 2.0, 3.0)], points=3)
        assert curve.x.tolist() == [0, 5, 10]
        assert curve.mean.tolist() == [0, 1, 2]
        half = 4.302653 / math.sqrt(3)  # the deviation of 1, 2, 3 is 1
        assert curve.low == pytest.approx([0, 1 - half / 2, 2 - half])
        assert curve.high == pytest.approx([0, 1 + half / 2, 2 + half])

    def test_one_seed_has_no_band(self) -> None:
        curve = mean_curve([(np.array([0.0, 1.0]), np.array([3.0, 4.0]))])
        assert np.isnan(curve.low).all()
        assert np.isnan(curve.high).all()
        assert (curve.mean[0], curve.mean[-1]) == (3, 4)

    def test_a_curve_is_where_every_seed_is(self) -> None:
        short, long = np.array([2.0, 4.0]), np.array([0.0, 3.0, 9.0])
        curve = mean_curve([(short, short), (long, long)])
        assert (curve.x[0], curve.x[-1], curve.seeds) == (2, 4, 2)
        assert curve.mean == pytest.approx(curve.x)

    def test_seeds_that_have_no_step_in_common_have_no_mean(self) -> None:
        early, late = np.array([0.0, 1.0]), np.array([2.0, 3.0])
        assert len(mean_curve([(early, early), (late, late)]).x) == 0

    @given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6))
    def test_the_band_holds_the_mean_and_no_order_of_seeds_changes_it(self, ends: list[float]) -> None:
        x = np.array([0.0, 1.0])
        curves = [(x, np.array([0.0, end])) for end in ends]
        one, other = mean_curve(curves, points=5), mean_curve(curves[::-1], points=5)
        assert (one.low <= one.mean).all()
        assert (one.mean <= one.high).all()
        assert one.low == pytest.approx(other.low)
        assert one.high == pytest.approx(other.high)


class TestGroups:
    def labels(self, *runs: RecordedRun, by: Sequence[str] = ()) -> dict[str, list[int]]:
        return {group.label: group.seeds for group in run_groups.group(runs, by)}

    def test_seeds_names_and_steps_of_one_setting_are_one_curve(self, tmp_path: Path) -> None:
        schedules = ("--learning-rate-decay-steps", "9", "--epsilon-decay-steps", "9")
        first = read_run(tmp_path / "a", "--game", "breakout", "--seed", "2", *schedules)
        second = read_run(tmp_path / "b", "--game", "Breakout-v0", "--steps", "7", *schedules)
        assert self.labels(first, second) == {"algorithm=pqn": [1, 2]}

    def test_a_schedule_that_follows_from_the_steps_tells_runs_apart(self, tmp_path: Path) -> None:
        runs = [read_run(tmp_path / steps, "--steps", steps) for steps in ("100", "200")]
        assert list(self.labels(*runs)) == [
            "epsilon_decay_steps=20 learning_rate_decay_steps=100",
            "epsilon_decay_steps=40 learning_rate_decay_steps=200",
        ]

    def test_a_schedule_that_the_algorithm_does_not_use_tells_nothing_apart(self, tmp_path: Path) -> None:
        a3c = ("--algorithm", "a3c", "--learning-rate-decay-steps", "9")
        runs = [read_run(tmp_path / steps, *a3c, "--steps", steps) for steps in ("100", "200")]
        other = read_run(tmp_path / "pqn", "--steps", "200", "--learning-rate-decay-steps", "9")
        assert self.labels(*runs, other) == {"algorithm=a3c": [1, 1], "algorithm=pqn": [1]}

    @pytest.mark.parametrize("flags", [("--algorithm", "a3c"), ("--preset", "ape-x"), ("--final-epsilon", "0.01")])
    def test_a_run_from_before_epsilon_fell_on_is_like_one_in_which_it_does_not(
        self, flags: tuple[str, ...], tmp_path: Path
    ) -> None:
        earlier = write_run(tmp_path / "a", *flags)
        for file in ("settings.json", run_folder.SETTINGS_FILE):
            recorded = json.loads((earlier / file).read_text())
            recorded["settings"] |= {"final_epsilon": 0.01}
            for name in ("middle_epsilon", "epsilon_tail_steps"):
                del recorded["settings"][name]
            (earlier / file).write_text(json.dumps(recorded))
        assert len(self.labels(recorded_run.read(earlier), read_run(tmp_path / "b", *flags))) == 1

    def test_a_setting_of_the_gate_tells_runs_apart(self, tmp_path: Path) -> None:
        flags = {"a": (), "b": ("--seed", "2"), "c": ("--capacity", "512")}
        runs = [read_run(tmp_path / name, *given) for name, given in flags.items()]
        assert self.labels(*runs) == {"capacity=256": [1, 2], "capacity=512": [1]}

    def test_a_label_leaves_out_what_follows_from_the_algorithm(self, tmp_path: Path) -> None:
        runs = [
            read_run(tmp_path / "a"),
            read_run(tmp_path / "b", "--algorithm", "nstep-q"),
            read_run(tmp_path / "c", "--algorithm", "nstep-q", "--discount", "0.9"),
        ]
        assert list(self.labels(*runs)) == [
            "algorithm=pqn discount=0.99",
            "algorithm=nstep-q discount=0.99",
            "algorithm=nstep-q discount=0.9",
        ]

    def test_what_changes_evaluation_alone_makes_no_other_curve(self, tmp_path: Path) -> None:
        runs = [read_run(tmp_path / "a"), read_run(tmp_path / "b", "--evaluation-average", "0")]
        assert list(self.labels(*runs)) == ["algorithm=pqn"]

    def test_a_label_leaves_out_what_follows_from_the_preset(self, tmp_path: Path) -> None:
        runs = [read_run(tmp_path / "a"), read_run(tmp_path / "b", "--preset", "paper")]
        assert list(self.labels(*runs)) == ["preset=default", "preset=paper"]

    def test_a_setting_that_an_earlier_release_did_not_record_is_unknown(self, tmp_path: Path) -> None:
        earlier = write_run(tmp_path / "a")
        (earlier / run_folder.SETTINGS_FILE).unlink()
        labels = list(self.labels(recorded_run.read(earlier), read_run(tmp_path / "b")))
        assert "capacity=unknown" in labels[0]
        assert "capacity=256" in labels[1]

    def test_a_run_from_before_there_was_a_precision_is_one_of_float32(self, tmp_path: Path) -> None:
        earlier = write_run(tmp_path / "a")
        for file in ("settings.json", run_folder.SETTINGS_FILE):
            (earlier / file).write_text((earlier / file).read_text().replace('"precision": "float32"', '"x": 1'))
        assert len(self.labels(recorded_run.read(earlier), read_run(tmp_path / "b"))) == 1

    def test_groups_are_by_the_settings_that_are_asked_for(self, tmp_path: Path) -> None:
        runs = [
            read_run(tmp_path / "a"),
            read_run(tmp_path / "b", "--capacity", "512"),
            read_run(tmp_path / "c", "--batch-size", "32"),
        ]
        assert self.labels(*runs, by=["batch-size"]) == {"batch_size=128": [1, 1], "batch_size=32": [1]}

    def test_games_are_never_one_curve(self, tmp_path: Path) -> None:
        runs = [read_run(tmp_path / game, "--game", game) for game in ("pong", "breakout")]
        assert list(self.labels(*runs, by=["capacity"])) == ["game=ALE/Pong-v5", "game=ALE/Breakout-v5"]

    @pytest.mark.parametrize(("name", "hint"), [("capacty", "did you mean capacity"), ("seed", "any setting but seed")])
    def test_a_setting_that_is_not_compared_is_refused(self, name: str, hint: str) -> None:
        with pytest.raises(UserError, match=f"--group-by {name}: .*{hint}"):
            run_groups.group([], by=[name])


class TestReading:
    def test_rows_without_a_score_and_a_last_one_cut_short_are_left_out(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a", returns=(None, 2.0, 4.0), seconds=(5.0, 10.0, 910.0))
        with (folder / METRICS_FILE).open("a") as file:
            file.write("1800000915.0,20000,80000,1,1,9")
        run = recorded_run.read(folder)
        assert run.returns.tolist() == [2, 4]
        assert run.env_steps.tolist() == [10_000, 15_000]
        assert (run.minutes * 60).tolist() == [10, 15]

    def test_a_score_is_reached_where_the_return_is_first_as_high(self, tmp_path: Path) -> None:
        run = recorded_run.read(write_run(tmp_path / "a", returns=(1.0, 5.0, 3.0, 9.0)))
        assert run.first_reached(5.0) == recorded_run.Milestone(10_000, 10 / 60)
        assert run.first_reached(10.0) is None

    def test_a_mean_of_fewer_than_100_games_reaches_no_score(self, tmp_path: Path) -> None:
        run = recorded_run.read(write_run(tmp_path / "a", returns=(9.0, 5.0, 6.0), episodes=(1, 99, 100)))
        assert run.first_reached(5.0) == recorded_run.Milestone(15_000, 15 / 60)
        assert run.first_reached(9.0) is None

    def test_a_run_that_did_not_count_its_games_reaches_a_score_by_its_returns(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path / "a")
        (folder / METRICS_FILE).write_text("time,env_steps,return_mean_100\n5.0,5000,9.0\n")
        assert recorded_run.read(folder).first_reached(9.0) == recorded_run.Milestone(5_000, 5 / 60)

    @pytest.mark.parametrize(
        ("file", "content", "line"),
        [
            (METRICS_FILE, None, "metrics.csv: no such file; compare takes runs that have begun to train"),
            (METRICS_FILE, "time,env_steps\n1,2\n", "metrics.csv: cannot be read as curves of a run"),
            (METRICS_FILE, "time,env_steps,return_mean_100\n1,2,\n", "no game has ended in metrics.csv yet"),
            ("settings.json", "{", "settings.json: cannot be read as the settings of a run"),
            ("settings.json", '{"settings": {}}', "settings.json: has no game, seed and steps"),
        ],
    )
    def test_a_run_that_records_too_little_is_named(
        self, tmp_path: Path, file: str, content: str | None, line: str
    ) -> None:
        folder = write_run(tmp_path / "a")
        (folder / run_folder.SETTINGS_FILE).unlink()
        (folder / file).unlink()
        if content is not None:
            (folder / file).write_text(content)
        with pytest.raises(UserError, match=line) as raised:
            recorded_run.read(folder)
        assert str(folder) in str(raised.value)


class TestHumanNormalised:
    @pytest.mark.parametrize(
        ("score", "percent"), [(1.7, 0.0), (16.1, 50.0), (30.5, 100.0), (59.3, 200.0), (0.26, -5.0)]
    )
    def test_a_random_player_is_0_and_a_human_100_percent(self, score: float, percent: float) -> None:
        breakout = human_normalised.reference_scores(find_game("breakout"))
        assert breakout is not None
        assert breakout.normalised(score) == pytest.approx(percent)
        assert breakout.score_of(percent) == pytest.approx(score)

    def test_the_table_has_57_games_that_there_are_with_humans_above_random(self) -> None:
        table = human_normalised.table()
        assert len(table) == 57
        assert table.keys() <= set(roms.get_all_rom_ids())
        assert all(scores.human > scores.random for scores in table.values())

    @pytest.mark.parametrize(
        ("game", "random", "human"),
        [
            ("ALE/Pong-v5", -20.7, 14.6),
            ("space_invaders", 148.0, 1668.7),
            ("Qbert", 163.9, 13455.0),
            ("MontezumaRevenge-v4", 0.0, 4753.3),
            ("Skiing", -17098.1, -4336.9),
        ],
    )
    def test_the_scores_are_those_of_the_paper(self, game: str, random: float, human: float) -> None:
        scores = human_normalised.reference_scores(find_game(game))
        assert scores == human_normalised.ReferenceScores(random, human)

    @pytest.mark.parametrize("game", ["CartPole-v1", "ALE/Adventure-v5"])
    def test_a_game_without_published_scores_has_none(self, game: str) -> None:
        assert human_normalised.reference_scores(find_game(game)) is None


class TestCommand:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> Path:
        """Two seeds of one setting, one of another."""
        write_run(tmp_path / "runs" / "a1", returns=(None, 1.7, 3.0), seconds=(5, 10, 15))
        write_run(tmp_path / "runs" / "a2", "--seed", "2", returns=(None, 1.7, 5.0), seconds=(5, 10, 15))
        write_run(
            tmp_path / "runs" / "b1", "--capacity", "512", returns=(2.0, 2.0, 2.0, 30.5), seconds=(5, 10, 15, 915)
        )
        return tmp_path / "runs"

    @pytest.fixture
    def output(self, tmp_path: Path) -> Path:
        return tmp_path / "pictures" / "of runs"

    def compare(self, runs: Path, output: Path, *arguments: str) -> None:
        compare.main([*arguments, "--runs", str(runs), "--output", str(output)])

    def test_the_csv_has_every_point_of_every_curve(self, runs: Path, output: Path) -> None:
        self.compare(runs, output, "a1", "a2", str(runs / "b1"))
        rows = list(csv.DictReader((output / "compare.csv").read_text().splitlines()))
        assert list(rows[0]) == ["group", "seeds", "x_kind", "x", "mean", "low", "high", "n"]
        assert {(row["group"], row["seeds"], row["x_kind"], row["n"]) for row in rows} == {
            ("capacity=256", "1 2", "env_steps", "2"),
            ("capacity=256", "1 2", "minutes", "2"),
            ("capacity=512", "1", "env_steps", "1"),
            ("capacity=512", "1", "minutes", "1"),
        }
        last = [row for row in rows if row["group"] == "capacity=256" and row["x_kind"] == "env_steps"][-1]
        assert (last["x"], last["mean"]) == ("15000", "4")
        assert float(last["high"]) - 4 == pytest.approx(12.7062, abs=1e-3)  # t x sqrt(2) / sqrt(2)
        alone = [row for row in rows if row["group"] == "capacity=512" and row["x_kind"] == "minutes"][-1]
        assert (alone["low"], alone["high"]) == ("", "")
        assert float(alone["x"]) == pytest.approx(20 / 60)

    def test_the_picture_is_a_png_of_the_size_of_a_figure(self, runs: Path, output: Path) -> None:
        self.compare(runs, output, "a1", "a2", "b1")
        picture = (output / "compare.png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", picture[16:24])
        assert 1500 <= width <= 4000
        assert 600 <= height <= width

    def test_runs_of_a_single_row_and_without_a_step_in_common_are_drawn(self, runs: Path, output: Path) -> None:
        write_run(runs / "early", returns=(1.0,))
        write_run(runs / "late", "--seed", "2", returns=(None, None, 1.0))
        self.compare(runs, output, "early")
        self.compare(runs, output, "early", "late")
        assert (output / "compare.csv").read_text().splitlines() == ["group,seeds,x_kind,x,mean,low,high,n"]

    def test_the_table_has_a_row_a_group(self, runs: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.compare(runs, output, "a1", "a2", "b1")
        printed = capsys.readouterr().out
        cells = {row[0]: row[1:] for row in (line.split() for line in printed.splitlines()) if row}
        # 5,000 steps in 5 s; (4 - 1.7) / (30.5 - 1.7) = 8 %
        assert cells["capacity=256"] == ["2", "0.01", "0.2", "4.0", "±", "12.7", "4.0", "1,000", "8.0"]
        assert cells["capacity=512"] == ["1", "0.02", "0.3", "30.5", "30.5", "1,000", "100.0"]
        assert str(output / "compare.png") in printed

    def test_a_best_is_of_100_games(self, runs: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_run(runs / "young", "--capacity", "64", returns=(9.0, 3.0, 2.0), episodes=(1, 100, 200))
        write_run(runs / "younger", "--capacity", "32", returns=(9.0, 3.0, 2.0), episodes=(1, 2, 99))
        self.compare(runs, output, "young", "younger", "b1")
        lines = (line.split() for line in capsys.readouterr().out.splitlines())
        bests = {line[0]: line[5] for line in lines if line and line[0].startswith("capacity=")}
        assert bests == {"capacity=64": "3.0", "capacity=32": "-", "capacity=512": "30.5"}

    def test_the_way_to_a_score_is_of_each_seed_and_the_median(
        self, runs: Path, output: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_run(runs / "a3", "--seed", "3", returns=(9.0, 9.0, 9.0))
        self.compare(runs, output, "a1", "a2", "a3", "--score", "4")
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["algorithm=pqn", "1", "not", "reached", "not", "reached"] in lines
        assert ["algorithm=pqn", "2", "15,000", "0.2"] in lines
        assert ["algorithm=pqn", "3", "5,000", "0.1"] in lines
        assert ["algorithm=pqn", "median", "15,000", "0.2"] in lines

    def test_a_run_that_is_named_twice_counts_once(self, runs: Path, output: Path) -> None:
        assert compare.find(["a1", str(runs / "a1"), "a2"], runs) == [runs / "a1", runs / "a2"]

    def test_runs_of_one_seed_count_each_and_are_noted(
        self, runs: Path, output: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_run(runs / "again")
        self.compare(runs, output, "a1", "again")
        assert "note: algorithm=pqn: seed 1 is there 2 times" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ([], r"name the runs to compare; in .*runs are a1, a2, b1"),
            (["a11"], r"a11: no such run in .*runs; did you mean a1\?"),
            (["breakout"], r"breakout: no such run in .*runs; there are a1, a2, b1"),
        ],
    )
    def test_a_mistake_is_answered_with_the_runs_that_there_are(
        self, runs: Path, output: Path, arguments: list[str], line: str
    ) -> None:
        with pytest.raises(UserError, match=line):
            self.compare(runs, output, *arguments)

    def test_a_folder_that_cannot_be_written_is_named(self, runs: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"--output .*file: cannot write there"):
            self.compare(runs, tmp_path / "file", "a1")
