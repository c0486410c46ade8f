"""Boxes as grid vectors in files, one a picture: which cells each region covers.

Our own captioners compute these areas from the boxes as they go (`decoder.transformer.position`)
and need no such files; they are for other programs and for looking.

Source: the interface of the spatial captioning system's step `prepro_areas`, which was never
published: for every picture `<id>.npy`, (number of boxes, grid x grid) float32. The mathematics is
`captioning.boxes.grid_areas`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from captioning.boxes import grid_areas
from captioning.disk import check_space
from captioning.features.importers import find_arrays, read_array, to_fractions
from captioning.features.numbers import naming
from captioning.features.store import FeatureStore
from captioning.folders import whole_folder


def boxes_of_store(store: FeatureStore) -> Iterator[tuple[int, Tensor]]:
    """Picture ids and boxes (P, 4) in 0..1.

    Raises:
        ValueError: a store without boxes.
    """
    if not store.has_boxes:
        raise ValueError(
            f"{store.path}: a store without boxes, which areas are computed from; one of `features "
            "regions`, or one imported with boxes, expected"
        )
    for image_id in store.image_ids:
        _, boxes = store.read_raw(image_id)
        yield image_id, torch.from_numpy(boxes)


def boxes_of_folder(
    folder: str | Path, sizes: Mapping[int, tuple[int, int]] | None
) -> Iterator[tuple[int, Tensor]]:
    """The same from `<id>.npy` files with boxes in pixels.

    Args:
        folder (str | Path): the files.
        sizes (Mapping | None): width and height of the pictures to take; None: unknown, which is
            refused.

    Raises:
        FileNotFoundError: no such folder, or a picture without a file in it.
        ValueError: what is wrong with which file.
    """
    files = find_arrays(folder)
    for image_id in sorted(files if sizes is None else sizes):
        if image_id not in files:
            raise FileNotFoundError(f"{folder}: no file for picture {image_id}")
        with naming(files[image_id]):
            pixels = read_array(files[image_id])
            number = len(pixels) if pixels.ndim else 0
            fractions = to_fractions(pixels, number, (sizes or {}).get(image_id, (0, 0)))
        yield image_id, torch.from_numpy(fractions)


def write_areas(
    boxes: Iterable[tuple[int, Tensor]],
    number: int,
    output: str | Path,
    grid: int = 12,
    share: str = "cell",
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write `OUTPUT/<image id>.npy` for every picture, (P, grid x grid) float32 row by row.

    Args:
        boxes (Iterable): see `boxes_of_store`, `boxes_of_folder`.
        number (int): of pictures, for the bar.
        output (str | Path): folder to write, whole or not at all.
        grid (int): rows and columns, >= 1.
        share (str): "cell": the covered share of each cell; "box": the share of the box in it.
        overwrite (bool): replace a folder of such files.
        progress (bool): show a bar.

    Returns:
        dict: output, pictures, regions, grid, share, bytes.

    Raises:
        FileExistsError: the folder is there already, or holds other files.
        ValueError: grid or share out of range; boxes that cannot be read.
        OSError: the disk is full; what stood there is kept.
    """
    num_pictures, num_regions, num_bytes = 0, 0, 0
    with whole_folder(output, _check_place, overwrite) as folder:
        bar = tqdm(boxes, "areas", number, unit=" pictures", disable=not progress)
        for image_id, own in bar:
            areas = grid_areas(own, grid, share).numpy()  # (P, g * g)
            path = folder / f"{image_id}.npy"
            np.save(path, areas)
            num_pictures, num_regions = num_pictures + 1, num_regions + len(areas)
            num_bytes += path.stat().st_size
    facts = {"grid": grid, "share": share, "bytes": num_bytes}
    return {"output": str(output), "pictures": num_pictures, "regions": num_regions} | facts


def check_room(output: str | Path, num_regions: int, grid: int) -> None:
    """Refuse what the disk cannot hold.

    Raises:
        OSError: how much is needed and how much is free.
    """
    check_space(output, num_regions * grid * grid * 4)


def _check_place(output: str | Path, overwrite: bool) -> None:
    """Refuse a place that is taken; only a folder of such files is replaced."""
    path = Path(output)
    if not path.exists():
        return
    if not path.is_dir():
        raise FileExistsError(f"{path}: a file, the name of a folder to write expected")
    others = [one.name for one in path.iterdir() if not _is_named_as_ours(one)]
    others = others or [one.name for one in sorted(path.iterdir())[:1] if not _holds_areas(one)]
    if others:
        raise FileExistsError(f"{path}: holds other files than areas ({sorted(others)[0]})")
    if any(path.iterdir()) and not overwrite:
        raise FileExistsError(f"{path}: exists already; --overwrite replaces it")


def _is_named_as_ours(path: Path) -> bool:
    return path.suffix == ".npy" and path.stem.isascii() and path.stem.isdigit()


def _holds_areas(path: Path) -> bool:
    """Whether a file is (P, g x g) float32, and not boxes, say."""
    try:
        areas = read_array(path)
    except ValueError:
        return False
    if areas.dtype != np.float32 or areas.ndim != 2:
        return False
    return math.isqrt(areas.shape[1]) ** 2 == areas.shape[1] and bool((areas <= 1 + 1e-6).all())
