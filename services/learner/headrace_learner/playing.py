"""`headrace play`: watch a checkpoint play, in a window or as a video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from headrace_learner import checkpoint_policy, single_environment
from headrace_learner.checkpoints import Checkpoint
from headrace_learner.choice import choose
from headrace_learner.screens import Screen, VideoFile, Window, WindowClosed
from headrace_proto.arguments import parse
from headrace_proto.settings import PlaySettings


def main(arguments: Sequence[str]) -> None:
    """Play, show and print the score of each game; raises UserError."""
    settings = parse(PlaySettings, arguments, "headrace play")
    checkpoint = choose(settings)
    run = checkpoint.state.run
    print(f"{run.game}  {checkpoint.path}  env_steps {checkpoint.state.env_steps:,}", flush=True)
    epsilon = checkpoint_policy.epsilon_for(run, settings.epsilon)
    rate = single_environment.frames_per_second(run)
    screen: Screen = VideoFile(settings.record, rate) if settings.record else Window(run.game, rate)
    with closing(screen):
        try:
            for episode in range(settings.episodes):
                score = play(checkpoint, screen, epsilon, settings.seed + episode)
                print(f"{run.game} game {episode + 1}: score {score:g}", flush=True)
        except WindowClosed:
            print("window closed")
    if settings.record:
        print(f"wrote {settings.record}")


def play(checkpoint: Checkpoint, screen: Screen, epsilon: float, seed: int) -> float:
    """Show one whole game and return its raw score."""
    policy = checkpoint_policy.read(checkpoint, epsilon, seed)
    score, ended = 0.0, False
    with closing(single_environment.make(checkpoint.state.run, screen.show)) as environment:
        state, _ = environment.reset(seed=seed)
        while not ended:
            action = int(policy.actions(state[None])[0])
            state, reward, terminated, truncated, _ = environment.step(action)
            score += float(reward)
            ended = terminated or truncated
    return score
