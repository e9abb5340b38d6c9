"""What a learner reads as a checkpoint: any folder is whole and can be loaded, or is refused for a reason in words."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from made_up import a_checkpoint_state

from fuzzing.script import Script
from fuzzing.weights_blob import TENSORS, blob_of, header_of
from headrace_learner import checkpoints
from headrace_learner.checkpoints import MODEL_FILE, STATE_FILE, InvalidCheckpointError

FOLDER = Path(tempfile.mkdtemp(prefix="headrace-fuzzing-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
MODEL = safetensors.torch.save({"online/x": torch.zeros(2)})
STATE = a_checkpoint_state(10, updates=2, weights_version=1, saved_at=0.0)


def one_input(data: bytes) -> None:
    """The first byte says what the rest is: the state, the model, or a header of a model and its data after a NUL.

    A model comes with its own checksum, as if whoever wrote it had meant it.
    """
    script = Script(data)
    choice, rest = script.byte() % 3, script.rest()
    model = MODEL if choice == 0 else rest if choice == 1 else blob_of(*rest.partition(b"\0")[::2])
    checksum = hashlib.sha256(model).hexdigest()
    state = rest if choice == 0 else STATE.model_copy(update={"model_sha256": checksum}).model_dump_json().encode()
    (FOLDER / MODEL_FILE).write_bytes(model)
    (FOLDER / STATE_FILE).write_bytes(state)
    try:
        checkpoint = checkpoints.read(FOLDER)
        tensors = checkpoint.tensors()
    except InvalidCheckpointError as error:
        assert str(FOLDER) in str(error)
        return
    assert checkpoint.state.env_steps >= 0
    assert all(tensor.numel() * tensor.element_size() <= len(model) for tensor in tensors.values())


def seeds() -> list[bytes]:
    """Whole ones, and headers that are true and that lie."""
    whole = STATE.model_copy(update={"model_sha256": hashlib.sha256(MODEL).hexdigest()}).model_dump_json()
    return [
        b"\0" + whole.encode(),
        b"\0" + json.dumps(json.loads(whole) | {"env_steps": -1}).encode(),
        b"\1" + MODEL,
        b"\1" + MODEL[:-1],
        *(b"\2" + header_of(kind, shape, size) for kind, shape, size in TENSORS),
    ]
