"""From settings to the run that actors and checkpoints know: game, shapes, network, rollouts."""

from __future__ import annotations

import os
from pathlib import Path

from headrace_learner import algorithms
from headrace_proto import environments, networks
from headrace_proto.combinations import require_combination
from headrace_proto.errors import UserError
from headrace_proto.run_settings import RunSettings
from headrace_proto.specification import NetworkName, RunSpecification

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
        epsilon_decay_steps=settings.decay_steps_of_epsilon,
        deterministic=settings.deterministic,
    )
    networks.build_for(run)
    return run
