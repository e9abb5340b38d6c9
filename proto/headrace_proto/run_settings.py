"""The settings of a run: what is learned, and how. They belong to its checkpoints.

Defaults are those of `pqn`; `presets.py` has what the other algorithms change.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from headrace_proto.base_settings import Settings, resumed_settings
from headrace_proto.conditions import CountsWith, counts
from headrace_proto.presets import AlgorithmName, PresetName, preset_values
from headrace_proto.specification import ABOVE_COUNT, ABOVE_STEPS, ExplorationKind, NetworkName, PrecisionName

OptimizerName = Literal["radam", "adam", "rmsprop", "rmsprop-keras"]
TracesName = Literal["peng", "importance", "retrace"]
BootstrapName = Literal["behaviour", "newest"]
ReplayName = Literal["none", "uniform", "prioritized"]

HELD_BEFORE = {"precision": "float32", "middle_epsilon": 0.0, "bootstrap": "newest"}
"""What held of settings that are younger than some runs' folders, which do not have them."""

WITH_PQN = CountsWith("algorithm", "pqn")
WITH_PENGS_TRACES = CountsWith("traces", "peng")
WITH_A3C = CountsWith("algorithm", "a3c")
WITH_VALUES = CountsWith("algorithm", "pqn", "nstep-q", "one-step-q", "one-step-sarsa")
WITH_N_STEPS = CountsWith("algorithm", "nstep-q", "a3c")
WITH_DOUBLE_Q = CountsWith("algorithm", "nstep-q", "one-step-q")
WITH_TARGET_NETWORK = CountsWith("algorithm", "nstep-q", "one-step-q", "one-step-sarsa")
WITHOUT_ROLLOUT_LENGTH = CountsWith("rollout_length", None)
WITH_RMSPROP = CountsWith("optimizer", "rmsprop", "rmsprop-keras")
WITH_ONE_EPSILON = CountsWith("exploration", "same")
WITH_REPLAY = CountsWith("replay", "uniform", "prioritized")
WITH_PRIORITIES = CountsWith("replay", "prioritized")


class AlgorithmSettings(Settings):
    """What is computed of a batch."""

    algorithm: AlgorithmName = Field("pqn", description="What the learner computes.")
    discount: float = Field(0.99, ge=0, le=1, description="Discount of future rewards, gamma.")
    trace_decay: Annotated[float, WITH_PQN] = Field(0.65, ge=0, le=1, description="Lambda of Q(lambda), in pqn.")
    traces: Annotated[TracesName, WITH_PQN] = Field(
        "peng", description="How pqn's traces are cut: never, by lag, or by Retrace."
    )
    bootstrap: Annotated[BootstrapName, WITH_PENGS_TRACES] = Field(
        "behaviour",
        description="Whose values pqn's returns contain: of the weights that acted, or the newest, which costs passes.",
    )
    n_step: Annotated[int, WITH_N_STEPS, WITHOUT_ROLLOUT_LENGTH] = Field(
        5, ge=1, le=256, description="Steps of the n-step return, in nstep-q and a3c."
    )
    double_q: Annotated[bool, WITH_DOUBLE_Q] = Field(
        False,
        description="In nstep-q and one-step-q, the online network chooses the action that the target network values.",
    )
    target_update_every: Annotated[int, WITH_TARGET_NETWORK] = Field(
        4_000, ge=1, description="Steps between copies to the target network, where there is one."
    )
    entropy_coefficient: Annotated[float, WITH_A3C] = Field(
        0.01, ge=0, description="Weight of the policy's entropy, in a3c."
    )
    value_coefficient: Annotated[float, WITH_A3C] = Field(
        0.5, ge=0, description="Weight of the loss of the value of states, in a3c."
    )
    correction: Annotated[Literal["v-trace", "none"], WITH_A3C] = Field(
        "v-trace", description="What a3c does about the policy lag."
    )
    loss: Literal["huber", "squared"] = Field("squared", description="Loss of the error of a value.")
    loss_reduction: Literal["transition", "rollout"] = Field(
        "transition", description="Mean over transitions, or over rollouts of the sum over their transitions."
    )


class OptimizerSettings(Settings):
    """What becomes of a gradient, and when the weights are published."""

    optimizer: OptimizerName = Field("radam", description="RAdam, Adam, the paper's RMSProp, or the ancestor's.")
    learning_rate: float = Field(5e-4, gt=0, description="Learning rate at step 0.")
    learning_rate_decay_steps: int | None = Field(
        None, ge=1, description="Steps over which the learning rate falls to 0; default: all."
    )
    rmsprop_alpha: Annotated[float, WITH_RMSPROP] = Field(
        0.99, ge=0, lt=1, description="Decay of RMSProp's mean square."
    )
    optimizer_epsilon: float = Field(1e-8, gt=0, description="Epsilon of the optimizer.")
    gradient_clip: float = Field(1.0, ge=0, description="Largest norm of the gradient; 0 for no limit.")
    batch_size: int = Field(
        128, ge=1, lt=ABOVE_COUNT, description="Transitions of a batch: whole rollouts until there are so many."
    )
    minibatches: Annotated[int, WITH_PQN] = Field(
        2, ge=1, description="Random parts of a batch with an optimizer step on each, in pqn."
    )
    weights_average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Actors play by a running mean of the weights: the share of it that an update keeps; 0 for none.",
    )
    evaluation_average: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Evaluated is a running mean of what actors play by: the share that an update keeps; 0 for none.",
    )
    publish_every: int = Field(256, ge=1, description="Steps between publications of weights.")


class NetworkSettings(Settings):
    """The network, and what it sees."""

    network: NetworkName | None = Field(None, description="Default: dqn-2013 for frames of at least 36x36, else mlp.")
    layer_norm: bool = Field(True, description="Layer normalisation after each layer, before its ReLU.")
    precision: PrecisionName = Field(
        "float32",
        description="What convolutions and hidden layer are computed in; bfloat16 is faster where processors have it.",
    )
    lstm: bool = Field(False, description="An LSTM of 256 units after the hidden layer, in a3c.")
    frame_stack: int | None = Field(None, ge=1, le=16, description="Frames of a state; default: 4 for Atari, else 1.")


class EnvironmentSettings(Settings):
    """The game, and how it is cut into rollouts."""

    environments_per_actor: int = Field(8, ge=1, le=1024, description="Environments that an actor plays at once.")
    rollout_length: int | None = Field(8, ge=1, le=1024, description="Transitions of a rollout; without one: n-step.")
    frame_skip: int = Field(4, ge=1, le=60, description="Emulator frames of an env_step.")
    noop_max: int = Field(30, ge=0, le=1000, description="Most no-op actions at the start of a game.")
    fire_on_reset: bool = Field(False, description="Press FIRE at the start of a game.")
    life_loss_terminal: bool = Field(True, description="A lost life ends the episode for learning; the game goes on.")
    sticky_action_probability: float = Field(0.0, ge=0, le=1, description="Chance that the last action repeats.")
    max_episode_frames: int = Field(
        108_000, ge=1, lt=ABOVE_COUNT, description="Frames after which a game is truncated: 30 minutes."
    )
    reward_clip: float = Field(
        1.0, ge=0, description="Rewards are clipped to plus and minus this; 0 for no clipping, and a million at most."
    )


class ExplorationSettings(Settings):
    """How value-based actors explore; a3c's sample from their policy."""

    exploration: Annotated[ExplorationKind, WITH_VALUES] = Field(
        "same",
        description="Final epsilons: the same for all, sampled 0.1/0.01/0.5, these in turn, or the Ape-X ladder.",
    )
    final_epsilon: Annotated[float, WITH_ONE_EPSILON] = Field(
        0.01, ge=0, le=1, description="What epsilon ends at with --exploration same."
    )
    middle_epsilon: Annotated[float, WITH_ONE_EPSILON] = Field(
        0.01,
        ge=0,
        le=1,
        description="Where epsilon has fallen to when its fall slows down; none where the final one is not below it.",
    )
    epsilon_decay_steps: Annotated[int | None, WITH_VALUES] = Field(
        None,
        ge=0,
        lt=ABOVE_STEPS,
        description="Steps over which epsilon falls from 1; default: a fifth of all, at most 300,000.",
    )
    epsilon_tail_steps: Annotated[int | None, WITH_ONE_EPSILON] = Field(
        None,
        ge=0,
        lt=ABOVE_STEPS,
        description="Steps after these over which it falls on to the final one; default: eight times as many, or all.",
    )


class ReplaySettings(Settings):
    """An optional replay in the learner, in Reverb's words."""

    replay: ReplayName = Field(
        "none", description="Sample updates from a replay in the learner, in nstep-q and one-step-q; see algorithms.md."
    )
    replay_max_size: Annotated[int, WITH_REPLAY] = Field(
        1_000_000, ge=1, le=100_000_000, description="Transitions that the replay keeps; the oldest leave."
    )
    replay_min_size_to_sample: Annotated[int, WITH_REPLAY] = Field(
        50_000, ge=1, description="Transitions inserted before any is sampled."
    )
    samples_per_insert: Annotated[float, WITH_REPLAY] = Field(
        8.0, gt=0, le=256, description="Times that a transition is sampled, on average."
    )
    priority_exponent: Annotated[float, WITH_PRIORITIES] = Field(
        0.6, ge=0, le=1, description="Alpha of prioritized replay."
    )
    importance_sampling_exponent: Annotated[float, WITH_PRIORITIES] = Field(
        0.4, ge=0, le=1, description="Beta of prioritized replay."
    )


class PresetSettings(Settings):
    """What a preset can fill: a service takes of it what it has itself."""

    preset: PresetName = Field("default", description="Sets many settings together; flags beside it win.")

    _asked: frozenset[str] = PrivateAttr(frozenset())

    @property
    def asked(self) -> frozenset[str]:
        """Names of the settings that a flag or the environment set, and not a preset or a checkpoint."""
        return self._asked

    @model_validator(mode="wrap")
    @classmethod
    def _fill_from_preset(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return validate(data)
        known = {
            name: value
            for name, value in preset_values(data, resumed_settings.get()).items()
            if name in cls.model_fields
        }
        settings = validate({**known, **data})
        settings._asked = frozenset(data)
        return settings


class RunSettings(
    PresetSettings,
    AlgorithmSettings,
    OptimizerSettings,
    NetworkSettings,
    EnvironmentSettings,
    ExplorationSettings,
    ReplaySettings,
):
    """What is learned and how: the settings that belong to a run and its checkpoints."""

    game: str = Field("Breakout", description="An Atari game (Breakout, ALE/Breakout-v5) or a gymnasium id.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random in the run.")
    steps: int = Field(10_000_000, ge=1, lt=ABOVE_STEPS, description="Transitions to train, in env_steps.")
    deterministic: bool = Field(
        False,
        description="One actor and the learner take turns: the same seed gives the same weights, whatever is killed.",
    )

    @property
    def rollout_transitions(self) -> int:
        """Transitions of a whole rollout."""
        return self.rollout_length or self.n_step

    @property
    def updates_per_batch(self) -> int:
        """Optimizer steps on a whole batch, where there is no replay."""
        return self.minibatches if counts(self, "minibatches") else 1

    @property
    def decay_steps_of_learning_rate(self) -> int:
        """Steps over which the learning rate falls to 0."""
        return self.learning_rate_decay_steps or self.steps

    @property
    def decay_steps_of_epsilon(self) -> int:
        """Steps over which epsilon falls from 1 to its middle or final value."""
        if self.epsilon_decay_steps is not None:
            return self.epsilon_decay_steps
        return min(self.steps // 5, 300_000)

    @property
    def middle_of_epsilon(self) -> float:
        """Where epsilon has fallen to after these, if it falls on; 0 if that is where it ends."""
        falls_on = counts(self, "middle_epsilon") and self.final_epsilon < self.middle_epsilon
        return self.middle_epsilon if falls_on else 0.0

    @property
    def tail_steps_of_epsilon(self) -> int:
        """Steps after these over which epsilon falls from its middle to its final value."""
        if not self.middle_of_epsilon:
            return 0
        if self.epsilon_tail_steps is not None:
            return self.epsilon_tail_steps
        return max(0, min(8 * self.decay_steps_of_epsilon, self.steps - self.decay_steps_of_epsilon))

    @property
    def schedules(self) -> dict[str, int | None]:
        """The settings of schedules, resolved where they count: what they follow from may change when a run goes on."""
        return {
            "learning_rate_decay_steps": self.decay_steps_of_learning_rate,
            "epsilon_decay_steps": self.decay_steps_of_epsilon,
            "epsilon_tail_steps": self.tail_steps_of_epsilon if self.middle_of_epsilon else self.epsilon_tail_steps,
        }
