"""Presets: hyperparameters that belong together, each with its source."""

from __future__ import annotations

from typing import Any, Literal

PresetName = Literal["default", "ancestor", "paper"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # Grzego/async-rl, q-learning-n-step. Its one `swap_freq` of 10,000 made the stale copy both behaviour policy and
    # target network; here the two are apart: actors get new weights every 100 steps, the target keeps its 10,000.
    "ancestor": {
        "algorithm": "nstep-q",
        "n_step": 5,
        "batch_size": 20,
        "network": "dqn-2013",
        "frame_stack": 3,
        "optimizer": "rmsprop-keras",
        "rmsprop_alpha": 0.9,
        "optimizer_epsilon": 1e-7,
        "learning_rate": 1e-4,
        "learning_rate_decay_steps": 80_000_000,
        "gradient_clip": 1.0,
        "loss": "squared",
        "publish_every": 100,
        "target_update_every": 10_000,
        "exploration": "round-robin",
        "epsilon_decay_steps": 4_000_000,
        "frame_skip": 3,
        "noop_max": 0,
        "sticky_action_probability": 0.25,
        "max_episode_frames": 30_000,
        "save_every": 250_000,
        "steps": 80_000_000,
    },
    # Mnih et al., arXiv 1602.01783, supplement 8: 16 actor-learners, t_max 5, shared RMSProp, target every 40,000
    # frames, epsilon annealed over 4,000,000 frames; frames are four times env_steps.
    "paper": {
        "algorithm": "nstep-q",
        "n_step": 5,
        "network": "dqn-2013",
        "frame_stack": 4,
        "optimizer": "rmsprop",
        "rmsprop_alpha": 0.99,
        "optimizer_epsilon": 0.1,
        "learning_rate": 7e-4,
        "learning_rate_decay_steps": 80_000_000,
        "gradient_clip": 0.0,
        "loss": "squared",
        "loss_reduction": "rollout",
        "publish_every": 64,
        "target_update_every": 10_000,
        "exploration": "paper",
        "epsilon_decay_steps": 1_000_000,
        "life_loss_terminal": True,
        "steps": 80_000_000,
    },
}
