"""Caption any pictures on disk, or a store of their features: one result a picture out."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioning.bundle import Caption, Captioner
from captioning.features.checked import check_for
from captioning.features.store import FeatureStore
from data_loader import UnreadableImageError, open_image, pad_regions
from model import VisualFeatures

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
    _check_batch_size(batch_size)
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


def caption_store(
    captioner: Captioner, store: FeatureStore, batch_size: int = 8, **overrides
) -> Iterator[tuple[str, list[Caption] | UnreadableImageError]]:
    """Caption the pictures of a feature store in batches.

    Args:
        captioner (Captioner): the model.
        store (FeatureStore): features as it learned from, see `open_for_captions`.
        batch_size (int): pictures at once.
        **overrides: settings of `GenerationConfig`.

    Yields:
        tuple: the picture's name, or its id in a store without names, and its captions (best
        first); in the end the pictures that could not be read when the store was made.
    """
    _check_batch_size(batch_size)
    config = captioner.generation_config(**overrides)
    names = store.file_names or [str(image_id) for image_id in store.image_ids]
    for start in range(0, len(store), batch_size):
        ids = store.image_ids[start : start + batch_size]
        parts = pad_regions([store.read(image_id) for image_id in ids])
        parts = [None if part is None else part.to(captioner.device) for part in parts]
        result, _ = captioner.generate(VisualFeatures(*parts), config)
        captions = captioner.to_captions(result)
        per_image = len(captions) // len(ids)
        for row, name in enumerate(names[start : start + batch_size]):
            yield name, captions[row * per_image : (row + 1) * per_image]
    for image_id, reason in store.unreadable.items():
        yield str(image_id), UnreadableImageError(f"{store.path}: left out: {reason}")


def open_for_captions(captioner: Captioner, path: str | Path) -> FeatureStore:
    """A store for `caption_store`, refused when the captioner did not learn from such features.

    Raises:
        FileNotFoundError, ValueError: no such store, or the first difference.
    """
    store = FeatureStore(path)
    for part in captioner.parts():
        known = part.record.get("features")
        check_for(store, part.experiment, part.encoder, known, store.image_ids, [])
    return store


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: {batch_size} received, 1 or more expected")
