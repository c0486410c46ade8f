"""Whether there is room on a disk, and numbers of bytes for people."""

from __future__ import annotations

import shutil
from pathlib import Path

SPARE = 64 << 20  # bytes of a disk that are left free


def free_space(path: str | Path) -> int:
    """Free bytes of the disk on which a file or folder is, or would be made."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def check_space(path: str | Path, needed: int) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        path (str | Path): file or folder to write.
        needed (int): bytes it will take; 0 or less: nothing is asked for.

    Raises:
        OSError: there is less room than needed.
    """
    free = free_space(path)
    if needed > 0 and needed + SPARE > free:
        raise OSError(
            f"{path}: {in_bytes(needed)} needed, {in_bytes(free)} free on this disk"
            + (f", of which {in_bytes(SPARE)} are spared" if free > needed else "")
        )


def in_bytes(number: int) -> str:
    """A number of bytes for people: 13510573713 -> "13.51 GB"."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number} bytes"
