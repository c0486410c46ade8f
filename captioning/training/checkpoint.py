"""The state of a run in one file, written whole or not at all, read without running any code.

A run that was killed goes on from its last checkpoint to the same final weights, bit for bit, on
the same machine and versions (tested on the CPU): weights, optimizer, random numbers and the
loader's position are all in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captioning.files import write_atomically

CONTENT = frozenset(
    "experiment vocabulary pictures networks optimizer scaler loader random progress".split()
)


def random_state() -> dict[str, Any]:
    """The state of torch's random number generators, on the CPU and on every CUDA device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the generators where `random_state` found them."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an older one stays until the new one is complete.

    Raises:
        OSError: it could not be written (a full disk, say); the older checkpoint is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*.part"):  # left by a killed run
        stale.unlink(missing_ok=True)
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint without running code that may be in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint to resume from")
    refused = f"{path}: damaged, or not a checkpoint of this course; nothing in it was run"
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # pickle: code in the file, which is not run; others: damage
        raise ValueError(refused) from error
    if not isinstance(state, dict) or not CONTENT <= set(state):
        raise ValueError(refused)
    return state
