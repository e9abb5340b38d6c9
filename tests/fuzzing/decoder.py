"""Every decoder of what crosses a socket as msgpack: any bytes are a message of its kind, or a WireError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from wire.test_golden_bytes import MESSAGES, ROLLOUT, RUN

from fuzzing.script import Script
from headrace_proto import codec, messages, rollouts
from headrace_proto.errors import WireError
from headrace_proto.messages import Message
from headrace_proto.metrics import REFUSAL_REASONS, REJECTION_REASONS

RUNS = (
    RUN,
    RUN.model_copy(update={"head": "policy", "lstm": True}),
    RUN.model_copy(update={"frame_shape": [4], "frame_dtype": "<f4", "frame_stack": 1, "actions": 2}),
)
REASONS = {*REFUSAL_REASONS, *REJECTION_REASONS}
LSTM_ROLLOUT = replace(ROLLOUT, behaviour_values=None, recurrent_state=np.zeros((2, 256), np.float32))


def one_input(data: bytes) -> None:
    """The first byte chooses a decoder, the others are its input."""
    script = Script(data)
    decode = script.one_of(DECODERS)
    try:
        decode(script)
    except WireError as error:
        assert error.reason in REASONS, error.reason


def seeds() -> list[bytes]:
    """One whole message for each decoder."""
    control = [bytes([place]) + MESSAGES[name].encode() for place, name in enumerate(MESSAGES)]
    after = len(control)
    payloads = [(0, ROLLOUT), (1, LSTM_ROLLOUT)]
    return [
        *control,
        *(bytes([after, run, len(rollout) - 1]) + rollout.encode() for run, rollout in payloads),
        bytes([after + 1]) + codec.encode({"any": [1, None, "text", b"bytes", 1.5, np.zeros((2, 3), np.float32)]}),
    ]


def _control(model: type[Message]) -> Callable[[Script], None]:
    def decode(script: Script) -> None:
        message = messages.decode(model, script.rest())
        again = messages.decode(model, message.encode())
        assert again == message or "nan" in repr(message)

    return decode


def _rollout(script: Script) -> None:
    run, count = script.one_of(RUNS), 1 + script.byte() % 6
    rollout = rollouts.decode(script.rest(), run, count)
    assert rollout.frames.shape == (count + run.frame_stack, *run.frame_shape)
    assert rollout.actions.min() >= 0
    assert rollout.actions.max() < run.actions
    assert np.isfinite(rollout.rewards).all()
    assert len(rollout.encode()) <= rollouts.max_payload_bytes(run)


def _anything(script: Script) -> None:
    assert _is_plain(codec.decode(script.rest()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | bytes) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.str in codec.ARRAY_DTYPES
    return value is None or type(value) in (bool, int, float, str, bytes)


DECODERS = (*(_control(type(message)) for message in MESSAGES.values()), _rollout, _anything)
