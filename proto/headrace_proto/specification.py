"""What an actor must know to play for a run: sent by the learner to the gate, and by the gate to every actor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ExplorationKind = Literal["same", "paper", "round-robin", "ape-x"]
HeadName = Literal["values", "policy"]
NetworkName = Literal["dqn-2013", "dqn-2015", "mlp"]
PrecisionName = Literal["float32", "bfloat16"]

LSTM_UNITS = 256

LONGEST_NAME = 255
"""Characters of a run's name, which is a folder's."""

MOST_DIMENSIONS, LONGEST_SIDE = 4, 4096
"""Of a frame's shape."""

LEAST_ACTIONS, MOST_ACTIONS = 2, 1024

ABOVE_COUNT, ABOVE_STEPS = 2**31, 2**63
"""What transitions of a batch and frames of a game, and what env_steps of a run, stay below."""


class RunSpecification(BaseModel):
    """The run as an actor sees it: game, preprocessing, exploration, network and the shape of a rollout.

    `name` is that of the run's folder, for labels. With the head `values` an actor is epsilon-greedy in the values of
    its actions, with `policy` it samples from the policy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(max_length=LONGEST_NAME)
    game: str = Field(max_length=200)
    seed: int = Field(ge=0, lt=2**63)
    environments_per_actor: int = Field(ge=1, le=1024)
    rollout_length: int = Field(ge=1, le=1024)
    n_step: int = Field(ge=1, le=1024)
    batch_size: int = Field(ge=1, lt=ABOVE_COUNT)
    network: NetworkName
    layer_norm: bool
    precision: PrecisionName
    head: HeadName
    lstm: bool
    frame_shape: list[Annotated[int, Field(ge=1, le=LONGEST_SIDE)]] = Field(max_length=MOST_DIMENSIONS)
    frame_dtype: Literal["|u1", "<f4"]
    frame_stack: int = Field(ge=1, le=16)
    actions: int = Field(ge=LEAST_ACTIONS, le=MOST_ACTIONS)
    frame_skip: int = Field(ge=1, lt=2**31)
    noop_max: int = Field(ge=0, lt=2**31)
    fire_on_reset: bool
    life_loss_terminal: bool
    sticky_action_probability: float = Field(ge=0, le=1)
    max_episode_frames: int = Field(ge=1, lt=ABOVE_COUNT)
    reward_clip: float = Field(ge=0, allow_inf_nan=False)
    exploration: ExplorationKind
    final_epsilon: float = Field(ge=0, le=1)
    middle_epsilon: float = Field(ge=0, le=1)
    epsilon_decay_steps: int = Field(ge=0, lt=ABOVE_STEPS)
    epsilon_tail_steps: int = Field(ge=0, lt=ABOVE_STEPS)
    deterministic: bool

    @property
    def credit_per_round(self) -> int:
        """Transitions that an actor asks credit for at once: one rollout from each of its environments."""
        return self.environments_per_actor * self.rollout_length

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one state as the network takes it, the frame stack first: (4, 84, 84) for Atari."""
        return (self.frame_stack, *self.frame_shape)
