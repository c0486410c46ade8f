"""Every picture of a split opened as training opens it, by several processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from data_loader import UnreadableImageError, ignore_interrupts, open_image

FEW = 200  # pictures that are not worth starting processes for


class Look(NamedTuple):
    """What one picture file is."""

    missing: bool = False
    problem: str = ""  # why it cannot be used, with its name
    size: tuple[int, int] = (0, 0)  # width, height in pixels, upright
    digest: bytes = b""  # of the file's bytes


def look(folder: Path, name: str) -> Look:
    """Open one picture."""
    path = folder / name
    if not os.path.isfile(path):
        return Look(missing=True)
    try:
        size = open_image(path, name).size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except (UnreadableImageError, OSError) as error:
        return Look(problem=str(error))
    return Look(size=size, digest=digest)


def look_at_all(
    folder: Path, names: Sequence[str], workers: int = 0, progress: bool = True
) -> Iterator[Look]:
    """Open pictures in their order.

    Args:
        folder (Path): the pictures folder.
        names (Sequence[str]): files in it.
        workers (int): processes; 0: one for each core, or none for a few pictures.
        progress (bool): show a bar on stderr, if that is a terminal.
    """
    workers = workers or min(8, os.cpu_count() or 1)
    loader = DataLoader(
        _Looks(folder, names),
        batch_size=32,
        collate_fn=list,
        num_workers=workers if len(names) > FEW else 0,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # leaves torch's own generator alone
    )
    quiet = None if progress else True  # None: no bar where there is no terminal
    with tqdm(total=len(names), desc="pictures", unit="picture", disable=quiet) as bar:
        for looks in loader:
            yield from looks
            bar.update(len(looks))


class _Looks(Dataset):
    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Look:
        return look(self.folder, self.names[index])
