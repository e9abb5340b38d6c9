"""RLlib's IMPALA on Pong with the 2015 trunk, its learner in the driver and env runners in processes of their own.

Each transition is trained once. The last layer of the trunk is written as a convolution, so that policy and value share
it. What counts are steps that the learner trained, not steps that were sampled.
"""

from __future__ import annotations

import logging
from typing import Any

import meter

NAME = "RLlib IMPALA"
TRUNK = [[32, 8, 4, "valid"], [64, 4, 2, "valid"], [64, 3, 1, "valid"], [512, 7, 1, "valid"]]


def main() -> None:
    """Train and report."""
    parser = meter.parser(__doc__, environments=8)
    parser.add_argument("--runners", type=int, default=1, help="processes that play")
    options = meter.parse(parser)

    import ray
    from ray.rllib.algorithms.impala import IMPALAConfig
    from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
    from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.tune.registry import register_env

    ray.init(num_cpus=options.runners + 1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    register_env("pong", make_pong)
    config = (
        IMPALAConfig()
        .environment("pong", clip_rewards=True)
        .env_runners(
            num_env_runners=options.runners,
            num_envs_per_env_runner=options.environments // options.runners,
            env_to_module_connector=lambda *_, **__: FrameStackingEnvToModule(num_frames=4),
        )
        .training(
            learner_connector=lambda *_, **__: FrameStackingLearner(num_frames=4), train_batch_size_per_learner=500
        )
        .learners(num_learners=0)
        .rl_module(model_config=DefaultModelConfig(conv_filters=TRUNK, vf_share_layers=True))
    )
    algorithm = config.build_algo()
    measured = meter.Meter(options.warm_up_steps, options.steps)
    while not measured.at(trained_steps(algorithm.train())):
        pass
    algorithm.stop()
    ray.shutdown()
    measured.report(NAME, environments=options.environments, threads=options.threads, runners=options.runners)


def make_pong(_: dict[str, Any]) -> Any:
    """Pong with RLlib's Atari wrappers, one frame an observation: RLlib stacks them itself."""
    import ale_py
    import gymnasium
    from ray.rllib.env.wrappers.atari_wrappers import wrap_atari_for_new_api_stack

    gymnasium.register_envs(ale_py)
    return wrap_atari_for_new_api_stack(gymnasium.make("PongNoFrameskip-v4"), dim=84, framestack=None)


def trained_steps(result: dict[str, Any]) -> float:
    """Env steps that the learner has trained since the beginning."""
    learner = result.get("learners", {}).get("__all_modules__", {})
    return float(learner.get("num_env_steps_trained_lifetime", 0.0))


if __name__ == "__main__":
    main()
