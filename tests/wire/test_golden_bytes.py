"""The bytes of every message, held fast: a change here is a new schema version (see proto/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import headrace_proto
from headrace_proto import SCHEMA_VERSION, messages, rollouts, weights
from headrace_proto.errors import WireError
from headrace_proto.messages import (
    ActorHeartbeat,
    BatchHeader,
    CreditGrant,
    CreditRequest,
    GateHeartbeat,
    Join,
    Leave,
    Message,
    Progress,
    RolloutHeader,
    Welcome,
)
from headrace_proto.rollouts import Rollout
from headrace_proto.specification import RunSpecification
from headrace_proto.weights import Weights

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
SESSION, GATE, LEARNER = bytes(range(16)), b"gate" * 4, b"learner " * 2

RUN = RunSpecification(
    name="pong-1",
    game="ALE/Pong-v5",
    seed=1,
    environments_per_actor=8,
    rollout_length=5,
    n_step=5,
    batch_size=64,
    network="dqn-2015",
    layer_norm=True,
    precision="float32",
    head="values",
    lstm=False,
    frame_shape=[2, 3],
    frame_dtype="|u1",
    frame_stack=4,
    actions=6,
    frame_skip=4,
    noop_max=30,
    fire_on_reset=False,
    life_loss_terminal=False,
    sticky_action_probability=0.25,
    max_episode_frames=108_000,
    reward_clip=1.0,
    exploration="paper",
    final_epsilon=0.01,
    middle_epsilon=0.0,
    epsilon_decay_steps=1_000_000,
    epsilon_tail_steps=0,
    deterministic=False,
)

MESSAGES: dict[str, Message] = {
    "join": Join(host="laptop"),
    "welcome": Welcome(
        actor=3, life=1, lease_seconds=10.0, transitions_address="tcp://*:5555", weights_address="tcp://l:5558", run=RUN
    ),
    "credit_request": CreditRequest(credit=7, count=40, finished=5),
    "credit_grant": CreditGrant(credit=7, count=40, generation=1, weights_version=128),
    "actor_heartbeat": ActorHeartbeat(finished=6, env_steps=70_000, waiting_for="credit"),
    "gate_heartbeat": GateHeartbeat(waiting_for=""),
    "leave": Leave(code="goodbye", reason="stopped"),
    "rollout_header": RolloutHeader(
        session=SESSION, actor=3, credit=7, part=0, final=True, count=2, generation=1, weights_version=128
    ),
    "batch_header": BatchHeader(
        gate=GATE,
        learner=LEARNER,
        generation=1,
        batch=9,
        rollouts=13,
        count=65,
        version=130,
        capacity=256,
        straggler_updates=32,
    ),
    "progress": Progress(
        learner=LEARNER,
        gate=GATE,
        generation=1,
        version=131,
        published_version=128,
        env_steps=8_400,
        received_batch=9,
        trained_batch=8,
        trained=8_400,
        rejected={"malformed": 5},
        run=RUN,
        waiting_for="",
        finished=False,
    ),
}

ROLLOUT = Rollout(
    frames=np.arange(36, dtype=np.uint8).reshape(6, 2, 3),
    actions=np.array([5, 0], np.int32),
    rewards=np.array([-1.0, 0.0], np.float32),
    behaviour_probabilities=np.array([0.925, 0.0125], np.float32),
    behaviour_values=np.array([-0.75, 1.5], np.float32),
    recurrent_state=None,
    terminated=False,
    truncated=True,
    n_step=5,
    environment=7,
    epsilon=0.1,
    episode_return=-21.0,
    episode_length=812,
)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_control_message_has_its_golden_bytes(name: str) -> None:
    assert MESSAGES[name].encode().hex() == GOLDEN[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_golden_bytes_decode_to_the_message(name: str) -> None:
    assert messages.decode(type(MESSAGES[name]), bytes.fromhex(GOLDEN[name])) == MESSAGES[name]


def test_a_rollout_has_its_golden_bytes_and_decodes_from_them() -> None:
    assert ROLLOUT.encode().hex() == GOLDEN["rollout"]

    decoded = rollouts.decode(bytes.fromhex(GOLDEN["rollout"]), RUN, count=2)

    for name in rollouts.FIELDS:
        np.testing.assert_array_equal(getattr(decoded, name), getattr(ROLLOUT, name))


def test_a_weights_blob_has_its_golden_bytes() -> None:
    blob = Weights(2, 131, 8_400, {"bias": torch.tensor([0.5, -1.0])}).encode()

    decoded = weights.decode(bytes.fromhex(GOLDEN["weights"]))

    assert len(blob) == len(bytes.fromhex(GOLDEN["weights"]))
    assert (decoded.generation, decoded.version, decoded.env_steps) == (2, 131, 8_400)
    assert torch.equal(decoded.tensors["bias"], torch.tensor([0.5, -1.0]))


def test_the_page_of_the_wire_is_of_this_schema_version() -> None:
    page = (Path(headrace_proto.__file__).parents[1] / "README.md").read_text()

    assert f"`schema` is {SCHEMA_VERSION}." in page
    assert f"\n| {SCHEMA_VERSION} | " in page


def test_another_schema_version_is_refused_with_a_message_that_names_both() -> None:
    ours, others = (b"\xa6schema" + bytes([version]) for version in (SCHEMA_VERSION, SCHEMA_VERSION + 1))
    theirs = bytes.fromhex(GOLDEN["join"]).replace(ours, others)

    with pytest.raises(WireError, match=f"schema version {SCHEMA_VERSION + 1}, this side {SCHEMA_VERSION}"):
        messages.decode_kind(theirs)
