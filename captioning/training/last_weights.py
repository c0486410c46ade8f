"""A captioner with the weights of its last step in place of the best ones."""

from __future__ import annotations

from pathlib import Path

import torch

from captioning.bundle import Captioner
from captioning.training.checkpoint import load_checkpoint


def load_weights_of(folder: str | Path, which: str = "best", device: str = "auto") -> Captioner:
    """A bundle with its best weights, or with those that training ended or stopped with.

    Args:
        folder (str | Path): the bundle.
        which (str): "best" or "last"; the latter needs the bundle's `checkpoint/`.
        device (str): auto, cpu, cuda, ...

    Raises:
        FileNotFoundError: no such bundle, or no checkpoint in it.
        ValueError: the checkpoint belongs to another network.
    """
    captioner = Captioner.load(folder, device)
    if which == "best":
        return captioner
    path = Path(folder) / "checkpoint" / "state.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint, so only the best weights are there")
    state = load_checkpoint(path, torch.device("cpu"))
    try:
        captioner.networks().load_state_dict(state["networks"])
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: not of the network of {folder} ({reason})") from error
    return captioner
