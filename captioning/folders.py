"""Folders that appear whole or not at all, whatever ends the process that writes them.

A folder is filled under another name beside its place, `.NAME.PROCESS.part`; what stands there
becomes `.NAME.PROCESS.old` for the moment between two moves. What a killed process leaves of either
kind is put right by the next one that writes to the same place.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(
    output: str | Path, check: Callable[[str | Path, bool], object], overwrite: bool
) -> Iterator[Path]:
    """A folder to fill; at the end it takes the place of `output`, after an error it is removed.

    Args:
        output (str | Path): folder to be; of a link, the folder it leads to is replaced.
        check (Callable): `check(output, overwrite)` raises what forbids to write there; asked when
            a folder that a killed process had moved aside is back.
        overwrite (bool): for `check`.

    Raises:
        OSError: the disk is full, or the place cannot be written; what stood there is intact.
    """
    place = Path(os.path.realpath(output))
    remove_abandoned(place)
    check(output, overwrite)
    try:
        with temporary_folder(place) as folder:
            yield folder
            _replace(place, folder)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{output}: could not be written ({reason})") from error


@contextlib.contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A new folder beside a place, gone at the end unless it was moved."""
    folder = place.with_name(f".{place.name}.{os.getpid()}.part")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(place: Path, folder: Path) -> None:
    """Move a folder to its place; what stood there goes, or comes back if that fails."""
    old = folder.with_suffix(".old")
    try:
        if place.exists():
            place.rename(old)
        folder.rename(place)
    finally:
        if old.exists() and not place.exists():
            old.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def remove_abandoned(place: Path) -> None:
    """Remove what killed processes have left; put back what one had just moved aside."""
    name = re.compile(re.escape(f".{place.name}.") + r"(\d+)\.(part|old)")
    for path in place.parent.glob(".*"):
        left = name.fullmatch(path.name)
        if left and not _is_running(int(left[1])):
            if left[2] == "old" and not place.exists():
                path.rename(place)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    """Whether another process has this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    return process != os.getpid()
