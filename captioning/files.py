"""Files that are written whole or not at all, and JSON that is read with one sentence on errors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write(temporary_path)` write a file, then put it in place in one move.

    Raises:
        OSError: the disk is full or the folder cannot be written; the message names the file, and
            what stood there is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # three words for a full disk
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        kept = "; what stood there is intact" if path.exists() else ""
        raise OSError(f"{path}: could not be written ({reason}){kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: str | Path, overwrite: bool) -> None:
    """Refuse the name of a file that is there already, before the work is done.

    Raises:
        IsADirectoryError: a folder stands there.
        FileExistsError: a file stands there, and it is not to be replaced.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, the name of a file to write expected")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; --overwrite replaces it")


def read_json(path: str | Path, what: str = "JSON file") -> Any:
    """What a JSON file holds.

    Args:
        path (str | Path): the file.
        what (str): what it is called in messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {what}")
    try:
        return json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a {what} ({error})") from error
