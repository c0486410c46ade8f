"""What happened in a run: one JSON object a line, readable without any server.

Rows of kind "step" hold loss, perplexity, learning rate and speed; rows of kind "epoch" hold the
validation scores and some captions. TensorBoard gets the same numbers when it is installed.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


class History:
    """Appends rows to a file; after a resume it continues behind the rows of the checkpoint.

    Args:
        path (Path | None): the file; None counts rows and writes nothing.
        rows (int): rows of the file that are kept, later ones are dropped.
        tensorboard (bool): also write event files beside it, if TensorBoard is installed.
    """

    def __init__(self, path: Path | None, rows: int = 0, tensorboard: bool = True) -> None:
        self.path, self.rows = path, rows
        self._file = self._board = None
        if path is None:
            return
        kept = path.read_text("utf-8").splitlines(keepends=True)[:rows] if path.exists() else []
        path.write_text("".join(kept), "utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._board = _summary_writer(path.parent / "tensorboard") if tensorboard else None

    def add(self, kind: str, step: int, **values: Any) -> None:
        """Write one row at once, so that a killed run leaves all that was said."""
        self.rows += 1
        if self._file is None:
            return
        try:
            self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(f"{self.path}: could not be written ({error.strerror})") from error
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close the file."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a full disk, reported by `add` already
            self._file.close()
        if self._board is not None:
            self._board.close()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """All rows; a last line that was cut by a kill is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line other than the last is not JSON; the message gives its number.
    """
    lines = Path(path).read_text("utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
    return rows
