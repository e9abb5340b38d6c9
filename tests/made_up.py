"""Made-up runs, rollouts and batches for tests of the learner."""

from __future__ import annotations

from typing import Any

import numpy as np

from headrace_learner import batches
from headrace_learner.batches import Batch
from headrace_learner.checkpoints import CheckpointState
from headrace_proto.messages import SESSION_BYTES, BatchHeader, RolloutHeader
from headrace_proto.rollouts import Rollout
from headrace_proto.specification import RunSpecification

GATE, LEARNER, ACTOR = (letter * SESSION_BYTES for letter in (b"G", b"L", b"A"))


def a_checkpoint_state(env_steps: int, **changes: Any) -> CheckpointState:
    """Of a learner of `a_run` that has trained so far."""
    fields: dict[str, Any] = {
        "env_steps": env_steps,
        "frames": env_steps,
        "updates": env_steps,
        "episodes": 0,
        "weights_version": env_steps,
        "recent_returns": [],
        "best_return": None,
        "finished": False,
        "run": a_run(),
        "action_names": ["0", "1"],
        "settings": {},
        "versions": {},
    }
    return CheckpointState(**fields | changes)


def a_run(**changes: Any) -> RunSpecification:
    """CartPole-like: vectors of four floats, two actions, rollouts of up to five."""
    return RunSpecification(
        **{
            "name": "",
            "game": "CartPole-v1",
            "seed": 1,
            "environments_per_actor": 2,
            "rollout_length": 5,
            "n_step": 5,
            "batch_size": 8,
            "network": "mlp",
            "layer_norm": False,
            "precision": "float32",
            "head": "values",
            "lstm": False,
            "frame_shape": [4],
            "frame_dtype": "<f4",
            "frame_stack": 1,
            "actions": 2,
            "frame_skip": 1,
            "noop_max": 0,
            "fire_on_reset": False,
            "life_loss_terminal": False,
            "sticky_action_probability": 0.0,
            "max_episode_frames": 1000,
            "reward_clip": 0.0,
            "exploration": "paper",
            "final_epsilon": 0.01,
            "middle_epsilon": 0.0,
            "epsilon_decay_steps": 100,
            "epsilon_tail_steps": 0,
            "deterministic": False,
            **changes,
        }
    )


def a_rollout(run: RunSpecification, length: int, seed: int = 0, **changes: Any) -> Rollout:
    """Random frames, actions and rewards of `length` transitions."""
    random = np.random.default_rng(seed)
    shape = (length + run.frame_stack, *run.frame_shape)
    frames = random.integers(0, 256, shape) if run.frame_dtype == "|u1" else random.normal(size=shape)
    clip = run.reward_clip or np.inf
    fields: dict[str, Any] = {
        "frames": frames.astype(run.frame_dtype),
        "actions": random.integers(run.actions, size=length).astype(np.int32),
        "rewards": random.normal(size=length).clip(-clip, clip).astype(np.float32),
        "behaviour_probabilities": np.full(length, 0.5, np.float32),
        "behaviour_values": random.normal(size=length).astype(np.float32) if run.head == "values" else None,
        "recurrent_state": None,
        "terminated": False,
        "truncated": False,
        "n_step": run.n_step,
        "environment": 0,
        "epsilon": 0.25,
        "episode_return": None,
        "episode_length": None,
    }
    return Rollout(**{**fields, **changes})


def a_header(count: int, version: int = 0, **changes: Any) -> RolloutHeader:
    """Header of a rollout of `count` transitions played with weights of `version`."""
    fields: dict[str, Any] = {
        "session": ACTOR,
        "actor": 0,
        "credit": 1,
        "part": 0,
        "final": True,
        "count": count,
        "generation": 1,
        "weights_version": version,
    }
    return RolloutHeader(**{**fields, **changes})


def a_batch_header(rollouts: int, count: int, **changes: Any) -> BatchHeader:
    """Header of a batch from gate GATE to learner LEARNER."""
    fields: dict[str, Any] = {
        "gate": GATE,
        "learner": LEARNER,
        "generation": 1,
        "batch": 1,
        "rollouts": rollouts,
        "count": count,
        "version": 0,
        "capacity": 256,
        "straggler_updates": 32,
    }
    return BatchHeader(**{**fields, **changes})


def frames_of(rollouts: list[Rollout], version: int = 0) -> list[bytes]:
    """The frames that follow a batch's header."""
    return [frame for rollout in rollouts for frame in (a_header(len(rollout), version).encode(), rollout.encode())]


def a_batch(run: RunSpecification, rollouts: list[Rollout], version: int = 0) -> Batch:
    """The rollouts as a batch, through the wire format."""
    header = a_batch_header(len(rollouts), sum(map(len, rollouts)))
    return batches.assemble(header, frames_of(rollouts, version), run)
