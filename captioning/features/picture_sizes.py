"""Sizes of pictures whose annotations do not note them, read from the heads of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import ExifTags, Image
from tqdm import tqdm

from data_loader import FORMATS

TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


def size_of_file(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture in pixels, upright; its pixels are not read.

    Raises:
        ValueError: it is no picture.
    """
    try:
        with Image.open(path, "r", FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in TURNED
            return (image.height, image.width) if turned else image.size
    except Exception as error:  # a damaged file can make Pillow raise nearly anything
        raise ValueError(f"{path}: not a picture whose size can be read ({error})") from error


def read_file_sizes(
    paths: Mapping[int, Path], progress: bool = False
) -> dict[int, tuple[int, int]]:
    """Sizes by picture id.

    Raises:
        ValueError: a file is missing or no picture.
    """
    bar = tqdm(paths.items(), "sizes", unit=" pictures", disable=not progress)
    return {image_id: size_of_file(path) for image_id, path in bar}


def find_numbered(folder: str | Path, image_ids: Iterable[int]) -> dict[int, Path]:
    """The files of pictures whose names end with their ids: `COCO_val2014_000000391895.jpg`.

    Args:
        folder (str | Path): they lie in it or below.
        image_ids (Iterable[int]): which pictures.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a picture is missing, or there twice.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    suffixes = {name for name, kind in Image.registered_extensions().items() if kind in FORMATS}
    wanted, found = set(image_ids), {}
    for path in sorted(Path(folder).rglob("*")):
        number = re.search(r"(\d+)$", path.stem, re.ASCII)
        if number is None or path.suffix.lower() not in suffixes or int(number[1]) not in wanted:
            continue
        image_id = int(number[1])
        if image_id in found:
            raise ValueError(f"{path}: picture {image_id} is {found[image_id]} as well")
        found[image_id] = path
    missing = sorted(wanted - set(found))
    if missing:
        raise ValueError(
            f"{folder}: no file for {len(missing)} of {len(wanted)} pictures, the first is "
            f"{missing[0]}; names that end with the id expected, e.g. 000000391895.jpg"
        )
    return found
