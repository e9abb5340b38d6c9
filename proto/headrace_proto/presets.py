"""Presets: hyperparameters that belong together, each with its source.

Without a preset an algorithm has values of its own, `ALGORITHM_DEFAULTS`; a preset changes some of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

AlgorithmName = Literal["pqn", "nstep-q", "one-step-q", "one-step-sarsa", "a3c"]
PresetName = Literal["default", "gpu", "ancestor", "paper", "dqn", "ape-x"]

DEFAULT_ALGORITHM: AlgorithmName = "pqn"

# Of the algorithms with a target network. All else they have from pqn, layer normalisation too (docs/results/nstep.md).
_WITH_TARGET_NETWORK: dict[str, Any] = {"rollout_length": None, "batch_size": 64}

ALGORITHM_DEFAULTS: dict[AlgorithmName, dict[str, Any]] = {
    "pqn": {},  # the defaults of the settings themselves
    "nstep-q": _WITH_TARGET_NETWORK,
    "one-step-q": _WITH_TARGET_NETWORK,
    "one-step-sarsa": _WITH_TARGET_NETWORK,
    "a3c": {
        "rollout_length": 16,
        "batch_size": 64,
        "n_step": 16,
        "layer_norm": False,
        "optimizer": "adam",
        "learning_rate": 7e-4,
        "optimizer_epsilon": 1e-5,
        "gradient_clip": 0.5,
        "publish_every": 64,
    },
}

PRESETS: dict[PresetName, dict[str, Any]] = {
    "default": {},
    # Gallici et al., arXiv 2407.04811, purejaxql's pqn_atari: 128 environments, learning rate 2.5e-4, minibatches of
    # 128, epsilon to 0.001 over a tenth of 50,000,000 steps; for a learner on a GPU with many actors. Rollouts are of 8
    # where theirs are of 32: a quarter of the credit for an actor's round, so that 14 actors play at once within the
    # capacity. With lambda 0.65 what lies more than 8 steps ahead weighs 3 % (docs/performance.md, on a GPU).
    "gpu": {
        "algorithm": "pqn",
        "network": "dqn-2015",
        "capacity": 2048,
        "batch_size": 512,
        "minibatches": 4,
        "learning_rate": 2.5e-4,
        "final_epsilon": 0.001,
        "middle_epsilon": 0.0,
        "epsilon_decay_steps": 5_000_000,
        "publish_every": 2048,
        "steps": 50_000_000,
    },
    # Grzego/async-rl, q-learning-n-step. Its one `swap_freq` of 10,000 made the stale copy both behaviour policy and
    # target network; here the two are apart: actors get new weights every 100 steps, the target keeps its 10,000.
    "ancestor": {
        "algorithm": "nstep-q",
        "n_step": 5,
        "batch_size": 20,
        "network": "dqn-2013",
        "layer_norm": False,
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
        "life_loss_terminal": False,
        "sticky_action_probability": 0.25,
        "max_episode_frames": 30_000,
        "steps": 80_000_000,
    },
    # Mnih et al., arXiv 1602.01783, supplement 8: 16 actor-learners, t_max 5, shared RMSProp, target every 40,000
    # frames, epsilon annealed over 4,000,000 frames; frames are four times env_steps. With --algorithm, any of theirs.
    "paper": {
        "algorithm": "nstep-q",
        "n_step": 5,
        "batch_size": 64,
        "rollout_length": 5,
        "network": "dqn-2013",
        "layer_norm": False,
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
        "correction": "none",
        "steps": 80_000_000,
    },
    # Mnih et al., arXiv 1312.5602: replay of the last 1,000,000, batches of 32, epsilon to 0.1 over 1,000,000. The
    # target network, the update every fourth step (8 samples an insert) and the 50,000 before the first are those of
    # its successor (Nature 518, 2015). Neither has Adam or Huber's loss: the learning rate is CleanRL's.
    "dqn": {
        "algorithm": "one-step-q",
        "network": "dqn-2013",
        "layer_norm": False,
        "n_step": 1,
        "rollout_length": 16,
        "batch_size": 32,
        "replay": "uniform",
        "replay_max_size": 1_000_000,
        "replay_min_size_to_sample": 50_000,
        "samples_per_insert": 8.0,
        "optimizer": "adam",
        "optimizer_epsilon": 1e-5,
        "learning_rate": 1e-4,
        "learning_rate_decay_steps": 1_000_000_000,  # as good as constant
        "gradient_clip": 0.0,
        "loss": "huber",
        "target_update_every": 10_000,
        "life_loss_terminal": False,
        "exploration": "same",
        "final_epsilon": 0.1,
        "epsilon_decay_steps": 1_000_000,
    },
    # Horgan et al., arXiv 1803.00933, appendix C: a ladder of epsilons that never fall, n = 3, double Q, prioritized
    # replay, a target of 2,500 updates. Ape-X-like: 360 actors insert about as much as is sampled (0.8 samples an
    # insert); here it is DQN's 8, so that a few actors do, and both presets compute equally much.
    "ape-x": {
        "algorithm": "nstep-q",
        "network": "dqn-2015",
        "layer_norm": False,
        "n_step": 3,
        "rollout_length": 16,
        "double_q": True,
        "batch_size": 512,
        "capacity": 1024,
        "replay": "prioritized",
        "replay_max_size": 2_000_000,
        "replay_min_size_to_sample": 50_000,
        "samples_per_insert": 8.0,
        "priority_exponent": 0.6,
        "importance_sampling_exponent": 0.4,
        "optimizer": "rmsprop",
        "rmsprop_alpha": 0.95,
        "optimizer_epsilon": 1.5e-7,
        "learning_rate": 6.25e-5,
        "learning_rate_decay_steps": 1_000_000_000,  # as good as constant
        "gradient_clip": 40.0,
        "loss": "huber",
        "target_update_every": 160_000,  # 2,500 updates x 512 / 8
        "exploration": "ape-x",
        "epsilon_decay_steps": 0,
    },
}


def preset_values(asked: Mapping[str, Any], resumed: Mapping[str, Any]) -> dict[str, Any]:
    """What holds where neither a flag nor the environment speaks: the preset, a resumed run, the algorithm's own.

    The preset that is asked for wins over the resumed run's settings, and those over the algorithm's.
    """
    preset = PRESETS.get(asked.get("preset", "default"), {})
    algorithm = {**resumed, **preset, **asked}.get("algorithm", DEFAULT_ALGORITHM)
    return {**ALGORITHM_DEFAULTS.get(algorithm, {}), **resumed, **preset}
