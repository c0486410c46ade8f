"""Where a feature store is written: what stands there, and whether there is room for it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path


def part_folder(output: str | Path) -> Path:
    """Where an unfinished store is."""
    return Path(f"{output}.part")


def check_free(output: str | Path, overwrite: bool) -> None:
    """Refuse an output that is there already.

    Raises:
        FileExistsError, IsADirectoryError: what stands there.
    """
    path = Path(output)
    if path.is_dir():
        raise IsADirectoryError(f"{output}: a folder, the name of an .h5 file expected")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{output}: exists already; --overwrite replaces it")


def check_disk(output: str | Path, num_bytes: int) -> None:
    """Refuse to begin what cannot fit; what `OUTPUT.part` holds already counts as room.

    Raises:
        OSError: how much is needed and how much is free.
    """
    parent = Path(output).absolute().parent
    while not parent.exists():
        parent = parent.parent
    begun = sum(f.stat().st_size for f in part_folder(output).glob("*.raw"))
    free = shutil.disk_usage(parent).free + begun
    if num_bytes > free:
        raise OSError(
            f"{output}: about {in_bytes(num_bytes)} needed, {in_bytes(free)} free on this disk"
        )


def in_bytes(number: float) -> str:
    """1536 -> '1.5 KB'."""
    step = min(int(math.log(max(number, 1), 1024)), 4)
    return f"{number / 1024**step:.{min(step, 1)}f} {['bytes', 'KB', 'MB', 'GB', 'TB'][step]}"
