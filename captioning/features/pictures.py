"""Which pictures features are made for, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_loader import read_annotations


class Picture(NamedTuple):
    """A picture that is to be looked at: its id, its file, and its name in the store."""

    image_id: int
    path: Path
    name: str


def list_data(data: str | Path, splits: Sequence[str]) -> list[Picture]:
    """The pictures of some splits of a data-set folder, each once, in the order of their ids.

    Raises:
        FileNotFoundError: there is no such split.
        ValueError: two splits use one id for different pictures.
    """
    names: dict[int, tuple[str, str]] = {}
    for split in splits:
        for image_id, image in read_annotations(data, split).imgs.items():
            name, known = image["file_name"], names.get(image_id, (image["file_name"], split))
            if name != known[0]:
                raise ValueError(
                    f"{data}: picture {image_id} is {known[0]} in split {known[1]} and {name} in "
                    f"split {split}; a store for each split expected (--splits {split})"
                )
            names[image_id] = name, split
    folder = Path(data) / "images"
    return [Picture(image_id, folder / name, name) for image_id, (name, _) in sorted(names.items())]


def list_splits(data: str | Path) -> list[str]:
    """Every split of a data-set folder, with captions or without.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = Path(data) / "annotations"
    files = [*folder.glob("captions_*.json"), *folder.glob("images_*.json")]
    if not files:
        raise FileNotFoundError(f"{folder}: no captions_SPLIT.json or images_SPLIT.json here")
    return sorted({path.stem.partition("_")[2] for path in files})


def number_files(folder: Path, files: Iterable[Path]) -> list[Picture]:
    """Ids 1, 2, ... for the pictures of a plain folder, which has no annotations."""
    return [
        Picture(number, path, path.relative_to(folder).as_posix())
        for number, path in enumerate(files, 1)
    ]


def read_sizes(data: str | Path, splits: Sequence[str]) -> dict[int, tuple[int, int]]:
    """Width and height in pixels of the pictures of some splits, by id; 0, 0 = not noted there."""
    sizes: dict[int, tuple[int, int]] = {}
    for split in splits:
        for image_id, image in read_annotations(data, split).imgs.items():
            sizes[image_id] = int(image.get("width") or 0), int(image.get("height") or 0)
    return sizes
