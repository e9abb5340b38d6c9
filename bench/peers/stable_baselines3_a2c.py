"""Stable-Baselines3's A2C on Pong with its own Atari wrappers, its CNN (the 2015 trunk) and its default settings.

Each transition is trained once, in batches of 5 steps of every environment.
"""

from __future__ import annotations

from typing import Any

import meter

NAME = "stable-baselines3 A2C"


def main() -> None:
    """Train and report."""
    parser = meter.parser(__doc__, environments=16)
    parser.add_argument("--subprocesses", action="store_true", help="a process for each environment")
    options = meter.parse(parser)

    import torch
    from stable_baselines3 import A2C
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

    torch.set_num_threads(options.threads)
    measured = meter.Meter(options.warm_up_steps, options.steps)

    class Watch(BaseCallback):  # type: ignore[misc]  # the checker does not see the package
        """Looks at the steps between two rollouts: all but the last one's are trained."""

        def _on_step(self) -> bool:
            return not self.is_done

        def _on_rollout_start(self) -> None:
            self.is_done = measured.at(self.num_timesteps)

    kind = SubprocVecEnv if options.subprocesses else DummyVecEnv
    games = make_atari_env(make_pong, n_envs=options.environments, seed=1, vec_env_cls=kind)
    learner = A2C("CnnPolicy", VecFrameStack(games, n_stack=4), device="cpu", seed=1)
    learner.learn(total_timesteps=10**9, callback=Watch())
    games.close()
    measured.report(NAME, environments=options.environments, threads=options.threads, processes=options.subprocesses)


def make_pong(**settings: Any) -> Any:
    """Pong as it is, in whatever process; Stable-Baselines3 wraps it."""
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    return gymnasium.make("PongNoFrameskip-v4", **settings)


if __name__ == "__main__":
    main()
