"""The feature store of a matrix: what makes it, and whether the one that is there is the one."""

from __future__ import annotations

import json
from pathlib import Path

from captioning.bench.matrix_file import Matrix
from captioning.files import read_json, write_atomically


def store_flags(matrix: Matrix) -> list[str]:
    """What to type after `features` to make the store of a matrix."""
    flags = list(matrix.command)
    if not any(word.partition("=")[0] == "--data" for word in flags):
        flags += ["--data", matrix.data]
    return [*flags, "--output", matrix.store]


def store_is_missing(matrix: Matrix) -> bool:
    """Whether the store has to be made.

    Raises:
        FileNotFoundError: it has, but the matrix does not say how.
        ValueError: it is there, but another command made it.
    """
    path = Path(matrix.store)
    if matrix.store and not path.is_file():
        if not matrix.command:
            raise FileNotFoundError(
                f"{path}: no such feature store; features.command of {matrix.path} may say how to "
                "make it"
            )
        return True
    note = note_of(matrix)
    if matrix.command and note.is_file():
        made = read_json(note, "note on a feature store")
        if made != store_flags(matrix):
            raise ValueError(
                f"{path}: made by `features {' '.join(map(str, made))}`, but {matrix.path} says "
                f"`features {' '.join(store_flags(matrix))}`; remove it, or name another store"
            )
    return False


def note_of(matrix: Matrix) -> Path:
    """The file beside the store that keeps the command."""
    return Path(f"{matrix.store}.command.json")


def note_command(matrix: Matrix) -> None:
    """Keep the command that made the store."""
    text = json.dumps(store_flags(matrix))
    write_atomically(note_of(matrix), lambda path: path.write_text(text, "utf-8"))


def check_judges_of(matrix: Matrix) -> None:
    """Refuse a matrix whose results could not be scored, before the first cell is trained.

    Raises:
        FileNotFoundError: a store of vectors, or a judge, is not there.
    """
    vectors, grammar = (matrix.evaluate.get(name, "") for name in ("vectors", "grammar"))
    if vectors and not Path(vectors).is_file():
        clip, data = matrix.evaluate["clip"], matrix.data
        raise FileNotFoundError(
            f"{matrix.path}: evaluate.vectors: no store {vectors}; `python -m captioning features "
            f"clip --clip {clip} --data {data} --output {vectors}` makes it"
        )
    if grammar and not Path(grammar).is_dir():
        raise FileNotFoundError(f"{matrix.path}: evaluate.grammar: no folder {grammar}")
