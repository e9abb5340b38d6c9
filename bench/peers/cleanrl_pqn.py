"""PQN on Pong as CleanRL has it (pqn_atari_envpool), written anew: CleanRL is not on the package index.

What is computed is the same: EnvPool's Atari; rounds of 128 steps of 8 environments; values of acting time kept for
Q(lambda); each round shuffled and trained in 4 minibatches, 4 times over, or as often as `--epochs` says; the 2015
trunk with layer normalisation; RAdam; frames as float32. Logging is left out, which is to the peer's advantage.
"""

from __future__ import annotations

import meter

NAME = "CleanRL PQN (own driver)"
ROUND = 128
MINIBATCHES = 4
DISCOUNT, TRACE_DECAY = 0.99, 0.65
LEARNING_RATE, LARGEST_NORM = 2.5e-4, 10.0
EPSILON = 0.9
"""About what it is in the first steps, which are the ones measured."""


def main() -> None:
    """Train and report."""
    parser = meter.parser(__doc__, environments=8)
    parser.add_argument("--epochs", type=int, default=4, help="how often each transition is trained")
    options = meter.parse(parser)

    import envpool
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    count = options.environments
    games = envpool.make("Pong-v5", env_type="gymnasium", num_envs=count, episodic_life=True, reward_clip=True, seed=1)
    actions_known = int(games.action_space.n)
    network = nn.Sequential(
        *(nn.Conv2d(4, 32, 8, 4), nn.LayerNorm([32, 20, 20]), nn.ReLU()),
        *(nn.Conv2d(32, 64, 4, 2), nn.LayerNorm([64, 9, 9]), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, 1), nn.LayerNorm([64, 7, 7]), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(3136, 512), nn.LayerNorm(512), nn.ReLU(), nn.Linear(512, actions_known)),
    )
    optimizer = torch.optim.RAdam(network.parameters(), lr=LEARNING_RATE)
    states = torch.zeros(ROUND, count, 4, 84, 84)
    actions = torch.zeros(ROUND, count, dtype=torch.long)
    rewards, ends, values = (torch.zeros(ROUND, count) for _ in range(3))
    state, end = torch.as_tensor(games.reset()[0], dtype=torch.float32), torch.zeros(count)

    @torch.no_grad()
    def play() -> None:
        nonlocal state, end
        for step in range(ROUND):
            states[step], ends[step] = state, end
            values[step], greedy = network(state / 255.0).max(1)
            explores = torch.rand(count) < EPSILON
            actions[step] = torch.where(explores, torch.randint(actions_known, (count,)), greedy)
            observed, reward, terminated, truncated, _ = games.step(actions[step].numpy())
            rewards[step] = torch.as_tensor(reward)
            state = torch.as_tensor(observed, dtype=torch.float32)
            end = torch.as_tensor(terminated | truncated, dtype=torch.float32)

    @torch.no_grad()
    def returns() -> Tensor:
        found = torch.zeros_like(rewards)
        found[-1] = rewards[-1] + DISCOUNT * network(state / 255.0).amax(1) * (1.0 - end)
        for step in reversed(range(ROUND - 1)):
            mixed = TRACE_DECAY * found[step + 1] + (1.0 - TRACE_DECAY) * values[step + 1]
            found[step] = rewards[step] + DISCOUNT * mixed * (1.0 - ends[step + 1])
        return found.flatten()

    def train(targets: Tensor) -> None:
        flat_states, flat_actions = states.flatten(0, 1), actions.flatten()
        for rows in torch.randperm(ROUND * count).chunk(MINIBATCHES):
            predicted = network(flat_states[rows] / 255.0).gather(1, flat_actions[rows, None]).squeeze(1)
            optimizer.zero_grad()
            functional.mse_loss(predicted, targets[rows]).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_NORM)
            optimizer.step()

    measured = meter.Meter(options.warm_up_steps, options.steps)
    trained = 0
    while not measured.at(trained):
        play()
        targets = returns()
        for _ in range(options.epochs):
            train(targets)
        trained += ROUND * count
    measured.report(NAME, environments=count, threads=options.threads, epochs=options.epochs)


if __name__ == "__main__":
    main()
