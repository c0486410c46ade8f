"""A switch for faster training on Linux CPUs."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameter numbers of mallopt, from malloc.h
_KEEP = 2**31 - 1  # bytes: the largest value mallopt takes


def keep_freed_memory() -> bool:
    """Let glibc keep large freed blocks for the next step, in place of returning them each time.

    A training step frees and takes the same large tensors over and over; giving them back to the
    system costs a page fault for every 4 KiB (`benchmarks/malloc.py` measures it).

    Returns:
        bool: whether it was possible (Linux with glibc).
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP) and mallopt(_TRIM_THRESHOLD, _KEEP))
