"""Every setting of Headrace, declared once: flag `--n-step`, environment variable `HEADRACE_N_STEP`, default and help.

A service takes its own class; `arguments.py` reads it. Flags win over the environment, the environment over a preset, a
preset over defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace_proto.errors import EXIT_STOPPED
from headrace_proto.names import ENVIRONMENT_PREFIX
from headrace_proto.presets import PRESETS, PresetName
from headrace_proto.specification import ExplorationKind, NetworkName

AlgorithmName = Literal["nstep-q", "one-step-q"]
OptimizerName = Literal["adam", "rmsprop", "rmsprop-keras"]

resumed_settings: ContextVar[Mapping[str, Any]] = ContextVar("resumed_settings", default={})  # noqa: B039 never mutated


class Settings(BaseSettings):
    """Base of all settings: frozen, no unknown names, environment variables with the prefix HEADRACE_."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
    )


class ServiceSettings(Settings):
    """What every service has."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown.")
    metrics_host: str = Field("127.0.0.1", description="Host that /metrics, /healthz and /readyz listen on.")
    metrics_address_file: Path | None = Field(None, description="File to write the metrics' host:port to.")


class SocketSettings(ServiceSettings):
    """What every service has that talks to others over sockets."""

    keys: Path | None = Field(None, description="Folder of CURVE keys: encrypts tcp sockets, lets in only known keys.")
    insecure: bool = Field(False, description="Allow tcp beyond this machine without keys.")


class ActorSettings(SocketSettings):
    """An actor needs the gate's address and nothing else."""

    gate_address: str = Field("tcp://127.0.0.1:5556", description="The gate's ROUTER.")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class GateLimits(Settings):
    """What the gate bounds."""

    capacity: int = Field(256, ge=2, description="Most transitions alive between the environments and the optimizer.")
    straggler_updates: int = Field(
        32, ge=1, description="Updates trained while a credit is out, after which it is taken back."
    )
    lease_seconds: float = Field(
        10.0, ge=1, le=3600, description="An actor silent for so long is gone and its credits return."
    )


class GateSettings(SocketSettings, GateLimits):
    """The replay-gate."""

    transitions_bind: str = Field("tcp://127.0.0.1:5555", description="PULL: rollouts from actors.")
    control_bind: str = Field("tcp://127.0.0.1:5556", description="ROUTER: credits and heartbeats of actors.")
    batches_bind: str = Field("tcp://127.0.0.1:5557", description="PUSH: batches to the learner.")
    learner_address: str = Field("tcp://127.0.0.1:5558", description="The learner's XPUB, for the gate and its actors.")
    journal: Path | None = Field(None, description="File that keeps the account across a restart of the gate.")
    metrics_port: int = Field(9101, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class RunSettings(Settings):
    """What is learned and how: the settings that belong to a run and its checkpoints."""

    preset: PresetName = Field("default", description="Sets many settings together; flags beside it win.")
    game: str = Field("Breakout", description="An Atari game (Breakout, ALE/Breakout-v5) or a gymnasium id.")
    algorithm: AlgorithmName = Field("nstep-q", description="What the learner computes.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random in the run.")
    steps: int = Field(10_000_000, ge=1, description="Transitions to train, in env_steps.")

    n_step: int = Field(5, ge=1, le=256, description="Steps of the n-step return.")
    discount: float = Field(0.99, ge=0, le=1, description="Discount of future rewards, gamma.")
    double_q: bool = Field(False, description="The online network chooses the action that the target network values.")
    loss: Literal["huber", "squared"] = Field("huber", description="Loss of the error of a value.")
    loss_reduction: Literal["transition", "rollout"] = Field(
        "transition", description="Mean over transitions, or over rollouts of the sum over their transitions."
    )
    optimizer: OptimizerName = Field("adam", description="Adam, the paper's RMSProp, or the ancestor's.")
    learning_rate: float = Field(2.5e-4, gt=0, description="Learning rate at step 0.")
    learning_rate_decay_steps: int | None = Field(
        None, ge=1, description="Steps over which the learning rate falls to 0; default: all."
    )
    rmsprop_alpha: float = Field(0.99, ge=0, lt=1, description="Decay of RMSProp's mean square.")
    optimizer_epsilon: float = Field(1e-5, gt=0, description="Epsilon of the optimizer.")
    gradient_clip: float = Field(10.0, ge=0, description="Largest norm of the gradient; 0 for no limit.")
    batch_size: int = Field(64, ge=1, description="Transitions of a batch: whole rollouts until there are so many.")
    target_update_every: int = Field(8_000, ge=1, description="Steps between copies to the target network.")
    publish_every: int = Field(256, ge=1, description="Steps between publications of weights.")

    network: NetworkName | None = Field(None, description="Default: dqn-2015 for frames of at least 36x36, else mlp.")
    frame_stack: int | None = Field(None, ge=1, le=16, description="Frames of a state; default: 4 for Atari, else 1.")
    environments_per_actor: int = Field(8, ge=1, le=1024, description="Environments that an actor plays at once.")
    rollout_length: int | None = Field(None, ge=1, le=1024, description="Transitions of a rollout; default: n-step.")

    frame_skip: int = Field(4, ge=1, le=60, description="Emulator frames of an env_step.")
    noop_max: int = Field(30, ge=0, le=1000, description="Most no-op actions at the start of a game.")
    fire_on_reset: bool = Field(False, description="Press FIRE at the start of a game.")
    life_loss_terminal: bool = Field(False, description="A lost life ends the episode for learning; the game goes on.")
    sticky_action_probability: float = Field(0.0, ge=0, le=1, description="Chance that the last action repeats.")
    max_episode_frames: int = Field(108_000, ge=1, description="Frames after which a game is truncated: 30 minutes.")
    reward_clip: float = Field(1.0, ge=0, description="Rewards are clipped to plus and minus this; 0 for no clipping.")

    exploration: ExplorationKind = Field(
        "paper", description="Final epsilons: sampled 0.1/0.01/0.5, the same in turn, or the Ape-X ladder."
    )
    epsilon_decay_steps: int | None = Field(
        None, ge=0, description="Steps over which epsilon falls from 1; default: a tenth of all, at most 1,000,000."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        chosen = PRESETS.get(data.get("preset", "default"), {})
        preset = {name: value for name, value in chosen.items() if name in cls.model_fields}
        return {**resumed_settings.get(), **preset, **data}

    @property
    def rollout_transitions(self) -> int:
        """Transitions of a whole rollout."""
        return self.rollout_length or self.n_step

    @property
    def decay_steps_of_learning_rate(self) -> int:
        """Steps over which the learning rate falls to 0."""
        return self.learning_rate_decay_steps or self.steps

    @property
    def decay_steps_of_epsilon(self) -> int:
        """Steps over which epsilon falls to its final value."""
        if self.epsilon_decay_steps is not None:
            return self.epsilon_decay_steps
        return min(self.steps // 10, 1_000_000)


class CheckpointSettings(Settings):
    """When the learner saves, what it keeps, and what it starts from."""

    save_every: int = Field(250_000, ge=1, description="Steps between checkpoints.")
    keep: int = Field(3, ge=1, description="Newest checkpoints kept, beside the best by return.")
    resume: str | None = Field(
        None, description="Go on from a checkpoint: latest, auto (latest if there is one), a path, or a step number."
    )


class ComputeSettings(Settings):
    """Where the learner computes."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a CUDA device if there is one.")
    learner_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Compute threads of the learner; default: 1, and in train the cores that actors leave, at most 8.",
    )


class LearnerSettings(SocketSettings, RunSettings, CheckpointSettings, ComputeSettings):
    """The learner."""

    weights_bind: str = Field("tcp://127.0.0.1:5558", description="XPUB: weights and progress.")
    batches_address: str = Field("tcp://127.0.0.1:5557", description="The gate's PUSH.")
    run_dir: Path = Field(Path("runs/default"), description="Folder of the run's checkpoints, curves and settings.")
    stopped_exit_status: int = Field(
        EXIT_STOPPED, ge=0, le=255, description="Exit status after a signal before the steps are done."
    )
    metrics_port: int = Field(9102, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class TrainSettings(RunSettings, CheckpointSettings, ComputeSettings, GateLimits):
    """`headrace train`: gate, learner and actors as processes of one machine."""

    actors: int | None = Field(None, ge=1, le=1024, description="Actor processes; default: from the cores.")
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Folder in --runs; default: from game, algorithm, seed and time.",
    )
    runs: Path = Field(Path("runs"), description="Folder of all runs.")
    transport: Literal["ipc", "tcp"] = Field("ipc", description="Sockets between the processes.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown.")


class CheckpointChoice(Settings):
    """Which checkpoint to play with, and how."""

    checkpoint: str = Field("latest", description="latest, a path, or a step number: the first from there on.")
    name: str | None = Field(None, description="The run; default: the newest in --runs.")
    runs: Path = Field(Path("runs"), description="Folder of all runs.")
    game: str | None = Field(None, description="Refuse a checkpoint of another game.")
    epsilon: float = Field(0.05, ge=0, le=1, description="Share of random actions.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of games and random actions.")


class EvaluateSettings(CheckpointChoice):
    """`headrace evaluate`: scores of a checkpoint."""

    episodes: int = Field(30, ge=1, description="Games to play.")
    json_output: bool = Field(False, alias="json", description="Print one JSON object.")

    model_config = SettingsConfigDict(env_prefix_target="all")  # HEADRACE_JSON, and not JSON


class EvaluatorSettings(ServiceSettings):
    """The evaluator, which follows a run's newest checkpoints."""

    run_dir: Path = Field(Path("runs/default"), description="Folder of the run's checkpoints, curves and settings.")
    episodes: int = Field(10, ge=1, description="Games to play.")
    epsilon: float = Field(0.0, ge=0, le=1, description="Share of random actions.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of games and random actions.")
    metrics_port: int = Field(9103, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class KeysSettings(Settings):
    """`headrace keys`: the CURVE keys of a deployment."""

    keys: Path = Field(Path("keys"), description="Folder of CURVE keys.")
    role: Literal["all", "gate", "learner", "actor"] = Field("all", description="Whose keys.")


class PlaySettings(CheckpointChoice):
    """`headrace play`: a window, or a video."""

    episodes: int = Field(1, ge=1, description="Games to play.")
    record: Path | None = Field(None, description="Write a video (.mp4) in place of opening a window.")


ALL_SETTINGS: tuple[type[Settings], ...] = (
    ActorSettings,
    GateSettings,
    LearnerSettings,
    TrainSettings,
    EvaluateSettings,
    PlaySettings,
    EvaluatorSettings,
    KeysSettings,
)
