"""A folder that appears whole or not at all, and is only replaced when it is a report itself."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

MARKER = "report.json"  # what tells a report from any other folder


def check_folder(output: str | Path, overwrite: bool = False) -> None:
    """Refuse a place that must not be written, before the work is done.

    Args:
        output (str | Path): folder to be.
        overwrite (bool): a report that stands there may be replaced.

    Raises:
        FileExistsError: something stands there that may not be replaced.
        NotADirectoryError: a file stands there or on the way to it.
    """
    output = Path(output)
    for path in (output, *output.absolute().parents):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path}: a file, a folder expected")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / MARKER).is_file():
        raise FileExistsError(f"{output}: a folder without {MARKER}, so no report; left alone")
    if not overwrite:
        raise FileExistsError(f"{output}: a report stands there; --overwrite replaces it")


@contextlib.contextmanager
def new_folder(output: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill; at the end it takes the place of `output`, after an error it is removed.

    Raises:
        FileExistsError, NotADirectoryError: see `check_folder`.
        OSError: the disk is full, or the place cannot be written; what stood there is intact.
    """
    output = Path(os.path.abspath(output))  # abspath: "." has no name
    _remove_abandoned(output)
    check_folder(output, overwrite)
    folder = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        _move(folder, output)
    except OSError as error:
        raise OSError(f"{output}: could not be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, output: Path) -> None:
    old = folder.with_suffix(".old")
    if output.exists():
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(output: Path) -> None:
    """Remove what killed runs have left; put a report back that one had just moved aside."""
    name = re.compile(re.escape(f".{output.name}.") + r"(\d+)\.(part|old)")
    for path in output.parent.glob(".*"):
        left = name.fullmatch(path.name)
        if left and not _is_running(int(left[1])):
            if left[2] == "old" and not output.exists():
                path.rename(output)
            else:
                shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return process != os.getpid()
