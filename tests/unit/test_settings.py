"""One name for every setting: flag, environment, preset and default, and what is said of a mistake."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from headrace_local.ancestor_flags import translate
from headrace_local.train import check_capacity
from headrace_proto.arguments import parse
from headrace_proto.base_settings import Settings
from headrace_proto.combinations import require_effect
from headrace_proto.conditions import conditions
from headrace_proto.errors import UserError
from headrace_proto.names import flag_name, variable_name
from headrace_proto.presets import ALGORITHM_DEFAULTS, PRESETS, AlgorithmName, PresetName
from headrace_proto.reference import SERVICES, documented, settings_page
from headrace_proto.run_settings import RunSettings
from headrace_proto.settings import (
    ALL_SETTINGS,
    EvaluateSettings,
    GateSettings,
    LearnerSettings,
    PlaySettings,
    TrainSettings,
)
from headrace_proto.specification import RunSpecification


def train_settings(*arguments: str, resumed: dict[str, object] | None = None) -> TrainSettings:
    return parse(TrainSettings, arguments, "headrace train", resumed)


def with_descendants(settings: type[Settings]) -> list[type[Settings]]:
    below = [found for child in settings.__subclasses__() for found in with_descendants(child)]
    return list(dict.fromkeys([settings, *below]))


def largest(model: type[BaseModel], name: str) -> float:
    """The largest number that a field allows, of whole numbers."""
    found = model.model_fields[name].metadata
    limits = [min(getattr(limit, "lt", math.inf) - 1, getattr(limit, "le", math.inf)) for limit in found]
    return min(limits, default=math.inf)


class TestLimits:
    @pytest.mark.parametrize("name", sorted(RunSettings.model_fields.keys() & RunSpecification.model_fields.keys()))
    def test_what_a_setting_allows_actors_can_be_told(self, name: str) -> None:
        assert largest(RunSettings, name) <= largest(RunSpecification, name)

    @pytest.mark.parametrize("flag", ["--batch-size", "--max-episode-frames"])
    def test_a_number_too_large_for_the_wire_is_refused_as_a_persons_mistake(self, flag: str) -> None:
        with pytest.raises(UserError, match=f"{flag} 2147483648: must be less than 2147483648"):
            train_settings(flag, "2147483648")


class TestPrecedence:
    def test_defaults_hold_where_nothing_is_said(self) -> None:
        assert train_settings().batch_size == 128
        assert train_settings().capacity == 256

    def test_a_preset_wins_over_defaults(self) -> None:
        assert train_settings("--preset", "ancestor").batch_size == 20

    def test_the_environment_wins_over_a_preset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_BATCH_SIZE", "32")
        assert train_settings("--preset", "ancestor").batch_size == 32

    def test_a_flag_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_BATCH_SIZE", "32")
        assert train_settings("--preset", "ancestor", "--batch-size", "16").batch_size == 16

    def test_the_environment_can_name_the_preset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_PRESET", "paper")
        assert train_settings().learning_rate == 7e-4

    def test_a_resumed_checkpoint_wins_over_defaults_and_yields_to_flags(self) -> None:
        resumed: dict[str, object] = {"preset": "paper", "learning_rate": 1e-3, "seed": 7}
        settings = train_settings("--seed", "8", resumed=resumed)
        assert (settings.learning_rate, settings.seed) == (1e-3, 8)

    def test_a_resumed_checkpoint_does_not_stay_for_the_next_reader(self) -> None:
        train_settings(resumed={"seed": 7})
        assert train_settings().seed == 1

    @pytest.mark.parametrize("preset", list(PRESETS))
    def test_a_preset_names_only_settings_that_there_are(self, preset: PresetName) -> None:
        settings = train_settings("--preset", preset)
        for name, value in PRESETS[preset].items():
            assert getattr(settings, name) == value

    @pytest.mark.parametrize("algorithm", list(ALGORITHM_DEFAULTS))
    def test_an_algorithm_has_values_of_its_own_where_nothing_else_speaks(self, algorithm: AlgorithmName) -> None:
        settings = train_settings("--algorithm", algorithm, "--discount", "0.9")
        for name, value in ALGORITHM_DEFAULTS[algorithm].items():
            assert getattr(settings, name) == value
        assert settings.discount == 0.9

    def test_a_preset_holds_for_the_algorithm_beside_it(self) -> None:
        settings = train_settings("--preset", "paper", "--algorithm", "one-step-q")
        assert (settings.algorithm, settings.optimizer, settings.loss) == ("one-step-q", "rmsprop", "squared")

    def test_a_gate_takes_its_capacity_from_the_preset_that_its_learner_has(self) -> None:
        gate = parse(GateSettings, ["--preset", "gpu"], "headrace-gate")
        assert gate.capacity == train_settings("--preset", "gpu").capacity == 2048
        assert parse(GateSettings, ["--preset", "gpu", "--capacity", "4096"], "headrace-gate").capacity == 4096

    @pytest.mark.parametrize(("steps", "falls_over"), [(100_000, 20_000), (10_000_000, 300_000)])
    def test_epsilon_falls_early_in_a_run_of_any_length(self, steps: int, falls_over: int) -> None:
        assert train_settings("--steps", str(steps)).decay_steps_of_epsilon == falls_over

    @pytest.mark.parametrize(
        ("flags", "middle", "tail"),
        [
            ([], 0.0, 0),
            (["--final-epsilon", "0.001"], 0.01, 2_400_000),
            (["--final-epsilon", "0.001", "--steps", "100000"], 0.01, 80_000),
            (["--final-epsilon", "0.001", "--epsilon-decay-steps", "9000000"], 0.01, 1_000_000),
            (["--final-epsilon", "0.001", "--middle-epsilon", "0.02", "--epsilon-tail-steps", "7"], 0.02, 7),
            (["--final-epsilon", "0.001", "--middle-epsilon", "0"], 0.0, 0),
            (["--final-epsilon", "0.05"], 0.0, 0),
            (["--preset", "gpu"], 0.0, 0),
            (["--preset", "ape-x"], 0.0, 0),
        ],
    )
    def test_epsilon_falls_on_slowly_within_the_run_unless_it_has_fallen_far_enough(
        self, flags: list[str], middle: float, tail: int
    ) -> None:
        settings = train_settings(*flags)
        assert (settings.middle_of_epsilon, settings.tail_steps_of_epsilon) == (middle, tail)

    @pytest.mark.parametrize("preset", list(PRESETS))
    def test_a_preset_cannot_stand_still(self, preset: str) -> None:
        check_capacity(train_settings("--preset", preset))


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["--n-step", "0"], "--n-step 0: must be greater than or equal to 1 (environment: HEADRACE_N_STEP)"),
            (["--n-step", "five"], "--n-step five: must be a valid integer"),
            (["--n-steps", "5"], "--n-steps: no such setting; did you mean --n-step?"),
            (["--discount=1.5"], "--discount 1.5: must be less than or equal to 1"),
            (["--learning-rate", "nan"], "--learning-rate nan: must be"),
            (["--algorithm", "dqn"], "--algorithm dqn: must be 'pqn'"),
            (["--capacity", "1"], "--capacity 1: must be greater than or equal to 2"),
            (["--wibble"], "--wibble: no such setting; see --help for the names"),
            (["--deterministic", "--actors", "2"], "--actors 2: whose rollouts come first"),
            (["--deterministic", "--learner-threads", "2"], "--learner-threads 2: sums come out otherwise"),
            (["--deterministic", "--device", "cuda"], "--device cuda: not shown to be deterministic; allowed with"),
        ],
    )
    def test_a_wrong_flag_gets_its_name_its_value_and_what_is_allowed(self, arguments: list[str], line: str) -> None:
        with pytest.raises(UserError) as raised:
            train_settings(*arguments)
        assert str(raised.value).startswith(line)
        assert "\n" not in str(raised.value)

    def test_a_wrong_variable_gets_the_same_line_as_a_flag(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_N_STEP", "0")
        with pytest.raises(UserError, match=r"--n-step 0: .*environment: HEADRACE_N_STEP"):
            train_settings()

    def test_a_misspelt_variable_is_not_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_CAPACTIY", "512")
        with pytest.raises(UserError, match=r"HEADRACE_CAPACTIY=512: no such setting; did you mean HEADRACE_CAPACITY"):
            train_settings()

    def test_another_services_variable_is_no_mistake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_LEARNING_RATE", "0.001")
        parse(GateSettings, [], "headrace-gate")


class TestEffect:
    """What is asked for and does nothing is refused; what a preset or a checkpoint brings along is not."""

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (
                ["--double-q"],
                "--double-q: does nothing with --algorithm pqn; allowed: without it, or with --algorithm n",
            ),
            (["--no-double-q"], "--no-double-q: does nothing with --algorithm pqn"),
            (["--n-step", "3"], "--n-step 3: does nothing with --algorithm pqn; .* nstep-q or a3c .*HEADRACE_N_STEP"),
            (["--n-step", "5"], "--n-step 5: does nothing with --algorithm pqn"),
            (["--algorithm", "one-step-q", "--rollout-length", "8", "--n-step", "3"], "--n-step 3: .*one-step-q;"),
            (["--target-update-every", "9"], "--target-update-every 9: .* nstep-q, one-step-q or one-step-sarsa"),
            (["--algorithm", "a3c", "--target-update-every", "9"], "--target-update-every 9: .* --algorithm a3c;"),
            (["--algorithm", "nstep-q", "--trace-decay", "0.9"], "--trace-decay 0.9: .* with --algorithm pqn "),
            (["--algorithm", "one-step-sarsa", "--traces", "retrace"], "--traces retrace: .* one-step-sarsa;"),
            (["--entropy-coefficient", "0"], "--entropy-coefficient 0.0: .* with --algorithm a3c "),
            (
                ["--algorithm", "a3c", "--exploration", "paper"],
                "--exploration paper: does nothing with --algorithm a3c",
            ),
            (["--algorithm", "a3c", "--final-epsilon", "0"], "--final-epsilon 0.0: does nothing with --algorithm a3c"),
            (["--preset", "ape-x", "--final-epsilon", "0"], "--final-epsilon 0.0: .* with --exploration ape-x;"),
            (["--rmsprop-alpha", "0.9"], "--rmsprop-alpha 0.9: .* --optimizer radam; .* rmsprop or rmsprop-keras"),
            (
                ["--replay-max-size", "9"],
                "--replay-max-size 9: does nothing with --replay none; .* uniform or prioritiz",
            ),
            (["--preset", "dqn", "--priority-exponent", "1"], "--priority-exponent 1.0: .* --replay uniform; "),
        ],
    )
    def test_a_flag_that_does_nothing_is_refused_in_one_line(self, arguments: list[str], line: str) -> None:
        with pytest.raises(UserError, match="^" + line):
            require_effect(train_settings(*arguments))

    def test_a_variable_is_as_good_as_a_flag(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_TRACES", "retrace")
        require_effect(train_settings())
        with pytest.raises(UserError, match=r"--traces retrace: .*environment: HEADRACE_TRACES"):
            require_effect(train_settings("--algorithm", "a3c"))

    @pytest.mark.parametrize("algorithm", list(ALGORITHM_DEFAULTS))
    @pytest.mark.parametrize("preset", list(PRESETS))
    def test_no_preset_is_refused_with_any_algorithm(self, preset: str, algorithm: str) -> None:
        require_effect(train_settings("--preset", preset, "--algorithm", algorithm))

    @pytest.mark.parametrize("algorithm", list(ALGORITHM_DEFAULTS))
    def test_a_checkpoint_brings_all_settings_and_is_not_refused(self, algorithm: str) -> None:
        everything = train_settings("--algorithm", algorithm).model_dump()
        require_effect(train_settings(resumed=everything))

    @pytest.mark.parametrize(
        ("arguments", "longest"),
        [(["--preset", "paper", "--n-step", "6"], 5), (["--algorithm", "a3c", "--n-step", "17"], 16)],
    )
    def test_more_steps_than_a_rollout_has_are_refused(self, arguments: list[str], longest: int) -> None:
        line = f"^--n-step .*: a return ends with its rollout; allowed: at most --rollout-length, {longest}$"
        with pytest.raises(UserError, match=line):
            require_effect(train_settings(*arguments))
        require_effect(train_settings(*arguments, "--rollout-length", "17"))
        require_effect(train_settings("--algorithm", "a3c", "--rollout-length", "8"))

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            (["--epsilon-tail-steps", "9"], "--epsilon-tail-steps 9: does nothing with --final-epsilon 0.01, which"),
            (
                ["--middle-epsilon", "0.01", "--final-epsilon", "0.05"],
                "--middle-epsilon 0.01: .* --final-epsilon 0.05,",
            ),
            (
                ["--middle-epsilon", "0", "--epsilon-tail-steps", "9"],
                "--epsilon-tail-steps 9: .* --middle-epsilon 0.0;",
            ),
        ],
    )
    def test_a_slow_end_of_exploration_that_never_comes_is_refused(self, arguments: list[str], line: str) -> None:
        with pytest.raises(UserError, match="^" + line):
            require_effect(train_settings(*arguments))

    def test_what_counts_may_be_asked_for(self) -> None:
        require_effect(train_settings("--algorithm", "one-step-q", "--n-step", "3"))  # the length of its rollouts
        require_effect(train_settings("--algorithm", "nstep-q", "--n-step", "3", "--rollout-length", "8", "--double-q"))
        require_effect(train_settings("--middle-epsilon", "0"))
        require_effect(train_settings("--final-epsilon", "0.001", "--epsilon-tail-steps", "9"))
        require_effect(train_settings("--preset", "ape-x", "--priority-exponent", "1", "--rmsprop-alpha", "0.9"))

    def test_a_resumed_run_says_which_algorithm_it_is_that_counts(self) -> None:
        require_effect(train_settings("--n-step", "3", resumed={"algorithm": "nstep-q"}))

    @pytest.mark.parametrize("name", list(RunSettings.model_fields))
    def test_a_condition_is_of_a_setting_and_values_that_there_are(self, name: str) -> None:
        for condition in conditions(RunSettings.model_fields[name]):
            allowed = {*_choices(RunSettings, condition.setting), None}
            assert set(condition.values) <= allowed


class TestNames:
    @pytest.mark.parametrize("settings", with_descendants(Settings), ids=lambda settings: settings.__name__)
    def test_every_setting_says_what_it_is(self, settings: type[Settings]) -> None:
        silent = [name for name, field in settings.model_fields.items() if not field.description]
        assert silent == []

    @pytest.mark.parametrize("name", list(RunSettings.model_fields))
    def test_a_flag_and_a_variable_of_one_setting_have_one_name(self, name: str) -> None:
        assert flag_name(name).removeprefix("--").replace("-", "_").upper() == variable_name(name)[len("HEADRACE_") :]

    def test_the_learner_knows_every_setting_of_a_run(self) -> None:
        assert set(RunSettings.model_fields) <= set(LearnerSettings.model_fields)


DOCUMENTED = [
    pytest.param(settings, field.alias or name, id=f"{service}-{name}")
    for service, settings in SERVICES
    for name, field in documented(settings).items()
]


class TestVariables:
    def test_the_page_has_every_setting_but_the_runs_to_compare_which_are_no_flag(self) -> None:
        assert {settings for _, settings in SERVICES} == set(ALL_SETTINGS)
        missing = [
            name for settings in ALL_SETTINGS for name in settings.model_fields if name not in documented(settings)
        ]
        assert missing == ["compared"]

    @pytest.mark.parametrize(("settings", "name"), DOCUMENTED)
    def test_every_documented_variable_is_read(
        self, settings: type[Settings], name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert f"`{variable_name(name)}`" in settings_page()
        field = next(field for field in settings.model_fields if name in (field, settings.model_fields[field].alias))
        default = getattr(parse(settings, [], "headrace"), field)
        seen = {default}
        for value in ("true", "false", "7", "0.5", "x", *_choices(settings, field)):
            monkeypatch.setenv(variable_name(name), value)
            with suppress(UserError):
                seen.add(getattr(parse(settings, [], "headrace"), field))
        assert seen != {default}, "no value of the variable changed the setting"

    @pytest.mark.parametrize("variable", ["JSON", "json"])
    def test_a_variable_without_the_prefix_is_nobodys(self, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(variable, "true")
        assert parse(EvaluateSettings, [], "headrace evaluate").json_output is False

    def test_a_flag_is_not_also_called_by_its_name_in_the_code(self) -> None:
        with pytest.raises(UserError, match="--json-output: no such setting; did you mean --json"):
            parse(EvaluateSettings, ["--json-output"], "headrace evaluate")


def _choices(settings: type[Settings], field: str) -> list[str]:
    annotation = settings.model_fields[field].annotation
    parts = (annotation, *get_args(annotation))
    return [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]


class TestAncestorFlags:
    """The command lines of Grzego/async-rl."""

    def test_its_readmes_command_line_is_understood(self) -> None:
        settings = _from_ancestor("--game=Breakout-v0", "--processes=16", "--n_step=5", "--th_comp_fix=False")
        assert (settings.game, settings.actors, settings.n_step) == ("Breakout-v0", 16, 5)
        assert settings.algorithm == "nstep-q"
        require_effect(settings)

    @pytest.mark.parametrize("chosen", [["--algorithm", "a3c"], ["--preset=paper"], ["--resume", "latest"]])
    def test_its_n_is_of_its_algorithm_unless_another_is_chosen(self, chosen: list[str]) -> None:
        assert translate("train", ["--n_step=5", *chosen]).arguments == ["--n-step=5", *chosen]
        assert translate("train", ["--n-step=5"]).arguments == ["--n-step=5"]

    def test_every_flag_has_todays_name(self) -> None:
        settings = _from_ancestor(
            *("--lr", "0.0002", "--batch_size", "20", "--swap_freq", "100", "--save_freq", "1000"),
            *("--eps_decay", "4000", "--lr_decay=8000", "--queue_size=512", "--checkpoint=1250000"),
        )
        assert settings.learning_rate == 0.0002
        assert settings.batch_size == 20
        assert settings.publish_every == 100
        assert settings.save_every == 1000
        assert settings.epsilon_decay_steps == 4000
        assert settings.learning_rate_decay_steps == 8000
        assert settings.capacity == 512
        assert settings.resume == "1250000"

    @pytest.mark.parametrize("arguments", [["--checkpoint=0"], ["--checkpoint", "0"]])
    def test_its_checkpoint_nought_starts_anew(self, arguments: list[str]) -> None:
        assert _from_ancestor(*arguments).resume is None

    @pytest.mark.parametrize("value", [["=False"], ["=True"], ["", "False"], ["", "no"], [""]])
    def test_d6_its_theano_flag_takes_any_value_and_is_ignored_with_a_note(self, value: list[str]) -> None:
        translated = translate("train", ["--th_comp_fix" + value[0], *value[1:], "--processes", "4"])
        assert translated.arguments == ["--actors", "4"]
        assert len(translated.notes) == 1

    def test_d6_a_boolean_flag_can_be_switched_on_and_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert train_settings("--double-q").double_q is True
        assert train_settings("--preset", "ancestor", "--life-loss-terminal").life_loss_terminal is True
        assert train_settings("--no-life-loss-terminal").life_loss_terminal is False
        monkeypatch.setenv("HEADRACE_DOUBLE_Q", "true")
        assert train_settings().double_q is True
        assert train_settings("--no-double-q").double_q is False
        monkeypatch.setenv("HEADRACE_DOUBLE_Q", "False")
        assert train_settings().double_q is False

    def test_its_model_is_a_checkpoint_to_play(self) -> None:
        arguments = translate("play", ["--model=model-1250000", "--game=Breakout-v0", "--eps", "0.1"]).arguments
        settings = parse(PlaySettings, arguments, "headrace play")
        assert (settings.checkpoint, settings.game, settings.epsilon) == ("model-1250000", "Breakout-v0", 0.1)

    def test_todays_flags_pass_unchanged(self) -> None:
        arguments = ["--checkpoint", "latest", "--episodes=3", "--json"]
        assert translate("evaluate", arguments).arguments == arguments
        assert parse(EvaluateSettings, arguments, "headrace evaluate").json_output is True


def _from_ancestor(*arguments: str) -> TrainSettings:
    return train_settings(*translate("train", arguments).arguments)
