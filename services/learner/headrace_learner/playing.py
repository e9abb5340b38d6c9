"""`headrace play`: watch a checkpoint play, in a window or as a video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from headrace_learner import checkpoint_policy, single_environment
from headrace_learner.checkpoint_policy import CheckpointPolicy
from headrace_learner.choice import choose, read_network
from headrace_learner.screens import Screen, VideoFile, Window, WindowClosed
from headrace_learner.single_environment import Environment
from headrace_proto.arguments import parse
from headrace_proto.settings import PlaySettings


def main(arguments: Sequence[str]) -> None:
    """Play, show and print the score of each game; raises UserError."""
    settings = parse(PlaySettings, arguments, "headrace play")
    checkpoint = choose(settings)
    run, network = checkpoint.state.run, read_network(checkpoint)
    print(f"{run.game}  {checkpoint.path}  env_steps {checkpoint.state.env_steps:,}", flush=True)
    epsilon = checkpoint_policy.epsilon_for(run, settings.epsilon)
    rate = single_environment.frames_per_second(run)
    screen: Screen = VideoFile(settings.record, rate) if settings.record else Window(run.game, rate)
    # One environment for all games: closing one of gymnasium's takes down the window that pygame shows.
    with closing(screen), closing(single_environment.make(run, screen.show)) as environment:
        try:
            for episode in range(settings.episodes):
                seed = settings.seed + episode
                score = play(checkpoint_policy.make(network, run, epsilon, seed), environment, seed)
                print(f"{run.game} game {episode + 1}: score {score:g}", flush=True)
        except WindowClosed:
            print("window closed")
    if settings.record:
        print(f"wrote {settings.record}")


def play(policy: CheckpointPolicy, environment: Environment, seed: int) -> float:
    """Play one whole game and return its raw score."""
    score, ended = 0.0, False
    state, _ = environment.reset(seed=seed)
    while not ended:
        action = int(policy.actions(state[None])[0])
        state, reward, terminated, truncated, _ = environment.step(action)
        score += float(reward)
        ended = terminated or truncated
    return score
