"""Every setting of Headrace, declared once: flag `--n-step`, environment variable `HEADRACE_N_STEP`, default and help.

A service takes its own class; `arguments.py` reads it. Flags win over the environment, the environment over a preset, a
preset over defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from headrace_proto.base_settings import Settings
from headrace_proto.errors import EXIT_STOPPED
from headrace_proto.run_settings import PresetSettings, RunSettings

STOPPED_EXIT_STATUS = "Exit status after a signal before the run's steps are done."


class ServiceSettings(Settings):
    """What every service has."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown.")
    metrics_host: str = Field("127.0.0.1", description="Host that /metrics, /healthz and /readyz listen on.")
    metrics_address_file: Path | None = Field(None, description="File to write the metrics' host:port to.")


class SocketSettings(ServiceSettings):
    """What every service has that talks to others over sockets."""

    keys: Path | None = Field(None, description="Folder of CURVE keys: encrypts tcp sockets, lets in only known keys.")
    insecure: bool = Field(False, description="Allow tcp beyond this machine without keys.")


class StayingSettings(Settings):
    """What an orchestrator needs that starts again whatever ends, however well it ended."""

    stay_up: bool = Field(
        False,
        description="Do not end for want of work: an actor asks a gate that refuses it, or whose run is finished, "
        "again every 10 s; a learner whose run is finished answers until it is told to stop.",
    )


class ActorSettings(SocketSettings, StayingSettings):
    """An actor needs the gate's address and nothing else."""

    gate_address: str = Field("tcp://127.0.0.1:5556", description="The gate's ROUTER.")
    stopped_exit_status: int = Field(0, ge=0, le=255, description=STOPPED_EXIT_STATUS)
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class GateLimits(Settings):
    """What the gate bounds."""

    capacity: int = Field(256, ge=2, description="Most transitions alive between the environments and the optimizer.")
    straggler_updates: int = Field(
        32, ge=1, description="Batches trained (versions of the weights) while a credit is out that take it back."
    )
    lease_seconds: float = Field(
        10.0, ge=1, le=3600, description="An actor silent for so long is gone and its credits return."
    )


class GateSettings(SocketSettings, GateLimits, PresetSettings):
    """The replay-gate."""

    transitions_bind: str = Field("tcp://127.0.0.1:5555", description="PULL: rollouts from actors.")
    control_bind: str = Field("tcp://127.0.0.1:5556", description="ROUTER: credits and heartbeats of actors.")
    batches_bind: str = Field("tcp://127.0.0.1:5557", description="PUSH: batches to the learner.")
    learner_address: str = Field("tcp://127.0.0.1:5558", description="The learner's XPUB, for the gate and its actors.")
    journal: Path | None = Field(None, description="File that keeps the account across a restart of the gate.")
    dismiss_actors: bool = Field(
        False,
        description="Once the run is finished, tell its actors to end; else they wait for a learner with steps left.",
    )
    metrics_port: int = Field(9101, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


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


class LearningSettings(RunSettings, CheckpointSettings, ComputeSettings):
    """All that decides what becomes of a run."""

    @model_validator(mode="after")
    def _compute_in_one_order(self) -> Self:
        if self.deterministic and self.learner_threads not in (None, 1):
            raise ValueError(
                f"--learner-threads {self.learner_threads}: sums come out otherwise with other numbers of threads; "
                "allowed with --deterministic: 1"
            )
        if self.deterministic and self.device == "cuda":
            raise ValueError("--device cuda: not shown to be deterministic; allowed with --deterministic: cpu, auto")
        return self


class LearnerSettings(SocketSettings, StayingSettings, LearningSettings):
    """The learner."""

    weights_bind: str = Field("tcp://127.0.0.1:5558", description="XPUB: weights and progress.")
    batches_address: str = Field("tcp://127.0.0.1:5557", description="The gate's PUSH.")
    run_dir: Path = Field(Path("runs/default"), description="Folder of the run's checkpoints, curves and settings.")
    stopped_exit_status: int = Field(EXIT_STOPPED, ge=0, le=255, description=STOPPED_EXIT_STATUS)
    metrics_port: int = Field(9102, ge=0, le=65535, description="Port of /metrics; 0 takes any free one.")


class TrainSettings(LearningSettings, GateLimits):
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

    @model_validator(mode="after")
    def _have_one_actor(self) -> Self:
        if self.deterministic and self.actors not in (None, 1):
            raise ValueError(
                f"--actors {self.actors}: whose rollouts come first would be chance; allowed with --deterministic: 1, "
                "whose environments --environments-per-actor sets"
            )
        return self


class CheckpointChoice(Settings):
    """Which checkpoint to play with, and how."""

    checkpoint: str = Field("latest", description="latest, a path, or a step number: the first from there on.")
    name: str | None = Field(None, description="The run; default: the newest in --runs.")
    runs: Path = Field(Path("runs"), description="Folder of all runs.")
    game: str | None = Field(None, description="Refuse a checkpoint of another game.")
    epsilon: float | None = Field(
        None, ge=0, le=1, description="Share of random actions; default: 0.05, and 0 for a policy, which is sampled."
    )
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
    kubernetes: bool = Field(False, description="Print the keys as Kubernetes Secrets, one for each role.")


class PlaySettings(CheckpointChoice):
    """`headrace play`: a window, or a video."""

    episodes: int = Field(1, ge=1, description="Games to play.")
    record: Path | None = Field(None, description="Write a video (.mp4) in place of opening a window.")


class CompareSettings(Settings):
    """`headrace compare`: curves of several runs, over seeds.

    Runs of the same settings but for the seed are one curve, with a 95 % confidence band from two seeds on. Writes
    compare.png and compare.csv; prints a table.
    """

    compared: CliPositionalArg[list[str]] = Field([], description="Runs: names of folders in --runs, or paths.")
    runs: Path = Field(Path("runs"), description="Folder of all runs.")
    output: Path = Field(Path("compare"), description="Folder for compare.png and compare.csv; written over.")
    score: float | None = Field(None, description="Print when each seed first reached this score.")
    group_by: str | None = Field(
        None, description="Settings that tell curves apart, e.g. algorithm,capacity; default: all but the seed."
    )


ALL_SETTINGS: tuple[type[Settings], ...] = (
    ActorSettings,
    GateSettings,
    LearnerSettings,
    TrainSettings,
    EvaluateSettings,
    PlaySettings,
    EvaluatorSettings,
    CompareSettings,
    KeysSettings,
)
