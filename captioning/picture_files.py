"""Caption any pictures on disk: files, folders and globs in, one result a picture out."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioning.bundle import Caption, Captioner
from data_loader import UnreadableImageError, open_image

SUFFIXES = frozenset(".jpg .jpeg .jpe .png .gif .bmp .tif .tiff .webp .ppm .pgm .mpo".split())


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """The files that were meant, in order, each once.

    A folder stands for the pictures in it and below: files with a picture's suffix, and files
    with another one that hold a picture all the same. Hidden files are left out.

    Raises:
        FileNotFoundError: a folder holds no picture.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_visible_file(p, path))
            inside = [p for p in inside if p.suffix.lower() in SUFFIXES or _holds_picture(p)]
            if not inside:
                raise FileNotFoundError(f"{given}: no picture in this folder")
            found |= dict.fromkeys(inside)
        elif path.exists() or not glob.has_magic(str(given)):
            found[path] = None  # a missing file is reported with the others, when it is opened
        else:
            matches = sorted(Path(match) for match in glob.glob(str(given), recursive=True))
            matches = [match for match in matches if match.is_file()]
            found |= dict.fromkeys(matches or [path])  # reported like a missing file
    return list(found)


def _is_visible_file(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden


def _holds_picture(path: Path) -> bool:
    try:
        open_image(path)
    except UnreadableImageError:
        return False
    return True


def caption_files(
    captioner: Captioner, paths: Sequence[Path], batch_size: int = 8, **overrides
) -> Iterator[tuple[Path, list[Caption] | UnreadableImageError]]:
    """Caption files in batches; an unreadable one gives its error and the rest goes on.

    Args:
        captioner (Captioner): the model.
        paths (Sequence[Path]): what `find_pictures` gave.
        batch_size (int): pictures at once.
        **overrides: settings of `GenerationConfig`.

    Yields:
        tuple: the path, and its captions (best first) or the error that names it.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} received, 1 or more expected")
    for start in range(0, len(paths), batch_size):
        outcomes: list = []
        for path in paths[start : start + batch_size]:
            try:
                outcomes.append(open_image(path))
            except UnreadableImageError as error:
                outcomes.append(error)
        pictures = [o for o in outcomes if not isinstance(o, UnreadableImageError)]
        described = iter(captioner.describe(pictures, **overrides) if pictures else [])
        for path, outcome in zip(paths[start:], outcomes, strict=False):
            failed = isinstance(outcome, UnreadableImageError)
            yield path, outcome if failed else next(described)
