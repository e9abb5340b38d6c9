"""Grzego/async-rl's n-step Q-learning on Pong, written anew from its description for present releases of Keras.

What makes its speed is the same: processes that play one game each, with a network of their own that sees one state at
a time; each transition, with its finished return, as float64 through a Manager's queue of 256; a learner that takes
them one by one into batches of 20, predicts, puts the returns in place of the taken actions' values and trains; weights
through a Manager's dictionary every 10,000 transitions, for which actors look every 20 steps. The 2013 trunk over three
frames, which are resized in colour and then made gray. An env step is 2 to 4 frames.

Epsilon is what it has fallen to after 4,000,000 of 80,000,000 steps, or what `--epsilon` says; whether the original
asks its network where it explores is not known, here it does not. Left out, to its advantage: what an actor asks the
learner at each step before that, the rule that ends a game after 100 equal actions, the falling learning rate, what is
printed. Channels come last, which is faster on processors.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import MutableMapping
from queue import Queue
from typing import Any

import meter

NAME = "Grzego/async-rl, n-step Q-learning (own driver)"
FRAMES, SIDE = 3, 84
STEPS_OF_RETURN = 5
BATCH = 20
QUEUE_LIMIT = 256
STEPS_BETWEEN_WEIGHTS = 10_000
DISCOUNT = 0.99
LEARNING_RATE, LARGEST_NORM = 1e-4, 1.0
SILENCE_SECONDS = 120.0
"""After which the actors have not started, or are no more."""
FINAL_EPSILONS = (0.1, 0.01, 0.5)


def main() -> None:
    """Train and report."""
    parser = meter.parser(__doc__, environments=4)
    parser.add_argument("--epsilon", type=float, help="of all processes; default: 0.1, 0.01 and 0.5, in turn")
    options = meter.parse(parser)
    final = [options.epsilon] if options.epsilon is not None else FINAL_EPSILONS
    epsilons = [final[index % len(final)] for index in range(options.environments)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        queue, published = manager.Queue(QUEUE_LIMIT), manager.dict(version=0)
        actors = [
            spawn.Process(target=play, args=(index, epsilon, options.threads, queue, published), daemon=True)
            for index, epsilon in enumerate(epsilons)
        ]
        for actor in actors:
            actor.start()
        learn(
            queue, published, meter.Meter(options.warm_up_steps, options.steps), options.threads, options.environments
        )
        if ended := [actor.name for actor in actors if actor.exitcode is not None]:
            raise RuntimeError(f"ended before they were told to: {', '.join(ended)}")
        for actor in actors:
            actor.terminate()
            actor.join()


def learn(
    queue: Queue[Any], published: MutableMapping[str, Any], measured: meter.Meter, threads: int, environments: int
) -> None:
    """Train batches until enough is measured."""
    import numpy as np

    network = make_network(threads)
    trained = 0
    while not measured.at(trained):
        states, actions, returns = zip(*(queue.get(timeout=SILENCE_SECONDS) for _ in range(BATCH)), strict=True)
        batch = np.stack(states)
        targets = np.array(network.predict_on_batch(batch))
        targets[np.arange(BATCH), list(actions)] = returns
        network.train_on_batch(batch, targets)
        trained += BATCH
        if trained % STEPS_BETWEEN_WEIGHTS == 0:
            published["weights"] = network.get_weights()
            published["version"] += 1
    measured.report(NAME, environments=environments, threads=threads)


def play(index: int, epsilon: float, threads: int, queue: Queue[Any], published: MutableMapping[str, Any]) -> None:
    """Play one game for ever, and send each transition with its return."""
    import numpy as np

    random = np.random.default_rng(index)
    network, game = make_network(threads), make_game()
    stack = begun(game, index)
    block: list[tuple[Any, int, float]] = []
    version = steps = 0
    while True:
        explores = random.random() < epsilon
        action = int(
            random.integers(game.action_space.n) if explores else network.predict_on_batch(stack[None]).argmax()
        )
        observed, reward, terminated, truncated, _ = game.step(action)
        block.append((stack, action, float(np.clip(reward, -1.0, 1.0))))
        is_over = terminated or truncated
        stack = begun(game) if is_over else np.concatenate([stack[..., 1:], as_frame(observed)], axis=2)
        if is_over or len(block) == STEPS_OF_RETURN:
            found = 0.0 if is_over else float(network.predict_on_batch(stack[None]).max())
            for state, taken, gained in reversed(block):
                found = gained + DISCOUNT * found
                queue.put((state, taken, found))
            block = []
        steps += 1
        if steps % BATCH == 0 and published["version"] > version:
            version = published["version"]
            network.set_weights(published["weights"])


def make_network(threads: int) -> Any:
    """The 2013 trunk, compiled."""
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    network = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, FRAMES)),
            keras.layers.Conv2D(16, 8, strides=4, activation="relu"),
            keras.layers.Conv2D(32, 4, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(int(make_game().action_space.n)),
        ]
    )
    network.compile(keras.optimizers.RMSprop(LEARNING_RATE, rho=0.9, clipnorm=LARGEST_NORM), "mse")
    return network


def make_game() -> Any:
    """Pong as gym had it: 2 to 4 frames for an action, which repeats the one before with a chance of a quarter."""
    import ale_py
    import gymnasium

    gymnasium.register_envs(ale_py)
    return gymnasium.make("ALE/Pong-v5", frameskip=(2, 5), repeat_action_probability=0.25)


def begun(game: Any, seed: int | None = None) -> Any:
    """The first state of a game, float64 [84, 84, 3]: its first screen three times."""
    return as_frame(game.reset(seed=seed)[0]).repeat(FRAMES, axis=2)


def as_frame(screen: Any) -> Any:
    """A screen, resized and gray, float64 [84, 84, 1] from 0 to 1."""
    import numpy as np
    from PIL import Image

    small = Image.fromarray(screen).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return (np.asarray(small) / 255.0 @ [0.2125, 0.7154, 0.0721])[..., None]


if __name__ == "__main__":
    main()
