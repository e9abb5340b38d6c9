"""From settings to the run that actors and checkpoints know: game, shapes, network, rollouts."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from headrace_learner import algorithms
from headrace_proto import environments, networks, rollouts
from headrace_proto.codec import MAX_MESSAGE_BYTES
from headrace_proto.combinations import require_combination
from headrace_proto.errors import UserError
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import NetworkName, RunSpecification
from headrace_proto.weights import MAX_HEADER_BYTES

ATARI_FRAME_STACK = 4


def name_of(run_dir: Path) -> str:
    """The name of a run: its folder's, what is not UTF-8 replaced, since neither wire nor metrics could carry it."""
    return os.fsencode(run_dir.resolve().name).decode(errors="replace")


def specify(settings: RunSettings, name: str = "") -> RunSpecification:
    """The run of the settings, defaults filled in for its game; raises UserError for what does not fit together."""
    game = environments.find_game(settings.game)
    spaces = environments.spaces(game)
    stack = settings.frame_stack or (ATARI_FRAME_STACK if game.is_atari else 1)
    if stack > 1 and not game.is_atari:
        raise UserError(f"--frame-stack {stack}: {game.name} is not an Atari game; allowed here: 1")
    default_network: NetworkName = "dqn-2013" if networks.takes_pixels(spaces.frame_shape) else "mlp"
    require_combination(settings)
    algorithm = algorithms.make(settings)
    run = RunSpecification(
        name=name,
        game=game.name,
        seed=settings.seed,
        environments_per_actor=settings.environments_per_actor,
        rollout_length=settings.rollout_transitions,
        n_step=algorithm.n_step,
        batch_size=settings.batch_size,
        network=settings.network or default_network,
        layer_norm=settings.layer_norm,
        precision=settings.precision,
        head=algorithm.head,
        lstm=settings.lstm,
        frame_shape=list(spaces.frame_shape),
        frame_dtype=spaces.frame_dtype,
        frame_stack=stack,
        actions=spaces.actions,
        frame_skip=settings.frame_skip if game.is_atari else 1,
        noop_max=settings.noop_max,
        fire_on_reset=settings.fire_on_reset,
        life_loss_terminal=settings.life_loss_terminal,
        sticky_action_probability=settings.sticky_action_probability,
        max_episode_frames=settings.max_episode_frames,
        reward_clip=settings.reward_clip,
        exploration=settings.exploration,
        final_epsilon=settings.final_epsilon,
        middle_epsilon=settings.middle_of_epsilon,
        epsilon_decay_steps=settings.decay_steps_of_epsilon,
        epsilon_tail_steps=settings.tail_steps_of_epsilon,
        deterministic=settings.deterministic,
    )
    _require_small_rollouts(run)
    _require_small_weights(run)
    return run


def _require_small_rollouts(run: RunSpecification) -> None:
    """Raise UserError for rollouts that ZeroMQ would drop without a word."""
    size, shorter = (rollouts.max_payload_bytes(run.model_copy(update={"rollout_length": n})) for n in (2, 1))
    each = size - shorter
    longest = 1 + (MAX_MESSAGE_BYTES - shorter) // each
    if run.rollout_length <= longest:
        return
    what_to_do = f"allowed here: at most {longest}" if longest >= 1 else "not even one fits: choose another game"
    raise UserError(
        f"--rollout-length {run.rollout_length}: each transition takes {each} bytes, and a rollout, which is one "
        f"message, at most {MAX_MESSAGE_BYTES}; {what_to_do}"
    )


def _require_small_weights(run: RunSpecification) -> None:
    """Raise UserError for a network that cannot be built, and for weights that ZeroMQ would drop without a word."""
    with torch.device("meta"):
        tensors = networks.build_for(run).state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > MAX_MESSAGE_BYTES - MAX_HEADER_BYTES:
        raise UserError(
            f"--game {run.game}: the weights of its network take {size} bytes with states of shape {run.state_shape}, "
            f"allowed: at most {MAX_MESSAGE_BYTES - MAX_HEADER_BYTES}, for they are published in one message; choose a "
            "game of smaller observations, or shrink them in a wrapper"
        )
