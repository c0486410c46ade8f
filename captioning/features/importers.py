"""Features that others computed: folders of `<id>.npy` or `<id>.npz`, and bottom-up TSV files.

Both are read one picture at a time; a killed import goes on where it was. Nothing is unpickled.

Source: the folders are those of ImageCaptioning.pytorch's `prepro_feats` and `make_bu_data`
(arrays under the key `feat`, or `z` in the pack of the COCO test server; boxes in pixels); the TSV
columns those of bottom-up-attention's `generate_tsv` (P. Anderson et al., "Bottom-Up and Top-Down
Attention for Image Captioning and Visual Question Answering", CVPR 2018).
Departures: a grid is kept as its rows one after the other, its cells are its boxes; boxes are kept
as fractions of the picture.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from captioning.features.numbers import naming
from captioning.features.place import check_disk
from captioning.features.signature import imported_signature
from captioning.features.tsv import Row, line_error, parse, read_lines
from captioning.features.writer import BOX_BYTES, StoreWriter, WriteOptions
from captioning.files import check_free
from model import grid_boxes

KEYS = ("feat", "z")  # of an .npz file
PIXEL_SLACK = 2.0  # boxes may leave the picture by so many pixels (rounding) and are cut off

Sizes = Mapping[int, tuple[int, int]]  # picture id -> width, height in pixels; 0, 0 = unknown


@dataclass(frozen=True)
class Folders:
    """The files of an import by picture id, what is known of their pictures, and what they hold."""

    features: Mapping[int, Path]
    boxes: Mapping[int, Path]  # empty when no folder of boxes was named
    sizes: Sizes | None
    spatial: bool  # regions or grids; False: one global vector a picture

    def size_of(self, image_id: int) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.sizes or {}).get(image_id, (0, 0))

    def read(self, image_id: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Regions (P, F) and boxes (P, 4) in 0..1 of a picture.

        Raises:
            ValueError: what is wrong with which file.
        """
        path = self.features[image_id]
        with naming(path):
            regions, boxes = read_regions(path, self.spatial)
        if self.boxes:
            with naming(self.boxes[image_id]):
                pixels = read_array(self.boxes[image_id])
                boxes = to_fractions(pixels, len(regions), self.size_of(image_id))
        return regions, boxes


def _check_all_there(wanted: Sequence[int], files: Mapping[int, Path], folder: str | Path) -> None:
    missing = [image_id for image_id in wanted if image_id not in files]
    if missing or not wanted:
        number = f"{len(missing)} of {len(wanted)} pictures"
        first = f", the first is {missing[0]}" if missing else ""
        raise ValueError(f"{folder}: no file for {number}{first}")


def _hash_ids(image_ids: Collection[int] | None) -> str:
    """16 hex digits that stand for these pictures."""
    text = repr(None if image_ids is None else sorted(image_ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------- arrays


def import_arrays(
    output: str | Path,
    *,
    att: str | Path | None = None,
    fc: str | Path | None = None,
    box: str | Path | None = None,
    sizes: Sizes | None = None,
    source: str = "arrays",
    write: WriteOptions = WriteOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """A store from folders of `<image id>.npy` or `<image id>.npz`, as self-critical's tools write.

    Args:
        output (str | Path): the store to write.
        att (str | Path | None): folder of regions: (P, F), or (height, width, F) of a grid.
        fc (str | Path | None): folder of global vectors (F,); read without `att` only, and gives
            one region a picture (with `att` the global vector is the mean of the regions).
        box (str | Path | None): folder of boxes (P, 4) of `att`: x1, y1, x2, y2 in pixels.
        sizes (Sizes | None): width and height in pixels of the pictures to import, by id, (0, 0)
            when unknown; None imports every file, with sizes unknown. Boxes need sizes.
        source (str): a name for the features; stores of different sources are told apart by it.
        write (WriteOptions): how the store is written.

    Returns:
        dict: output, pictures, regions, feature_dim, bytes, resumed.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: a file is not what it should be; the message names it.
        FileExistsError: the output is there already, or a part of it that was begun differently.
        OSError: there is too little room on the disk.
    """
    folder = att or fc
    if not folder or (box and not att):
        raise ValueError("att, fc: none received, a folder of features expected (box needs att)")
    check_free(output, write.overwrite)
    folders = Folders(find_arrays(folder), find_arrays(box) if box else {}, sizes, bool(att))
    wanted = sorted(folders.features if sizes is None else sizes)
    _check_all_there(wanted, folders.features, folder)
    if box:
        _check_all_there(wanted, folders.boxes, box)
    regions, boxes = folders.read(wanted[0])
    num_bytes = regions.size * (2 if write.half else 4) + len(regions) * BOX_BYTES
    check_disk(output, len(wanted) * num_bytes)
    signature, plan = imported_signature(source), {"pictures": _hash_ids(wanted)}
    with StoreWriter(output, signature, regions.shape[1], boxes is not None, plan, write) as writer:
        resumed = len(writer.done)
        left = [image_id for image_id in wanted if image_id not in writer.done]
        bar = {"initial": resumed, "total": len(wanted), "disable": not write.progress}
        for image_id in tqdm(left, "import", unit=" pictures", **bar):
            values = folders.read(image_id)
            with naming(folders.features[image_id]):
                writer.append(image_id, *values, folders.size_of(image_id))
        writer.finish()
    return writer.summary() | {"resumed": resumed}


def find_arrays(folder: str | Path) -> dict[int, Path]:
    """The .npy and .npz files of a folder by picture id; hidden and other files are left out.

    Raises:
        FileNotFoundError: no such folder, or no such file in it.
        ValueError: a name is not a number, or two files stand for one picture.
    """
    found: dict[int, Path] = {}
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    with os.scandir(folder) as entries:
        paths = [Path(e.path) for e in entries if e.name.endswith((".npy", ".npz"))]
    for path in sorted(path for path in paths if not path.name.startswith(".")):
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise ValueError(f"{path}: the id of a picture expected as name, e.g. 391895.npz")
        image_id = int(path.stem)
        if image_id in found:
            raise ValueError(f"{path}: picture {image_id} is in {found[image_id]} as well")
        found[image_id] = path
    if not found:
        raise FileNotFoundError(f"{folder}: no .npy or .npz file in it")
    return found


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file, or of an .npz file under `feat` or `z`.

    Raises:
        ValueError: damaged, no such key, or no numbers in it.
    """
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else _of_archive(loaded)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        reason = " ".join(str(error).split()).strip("'\"")
        raise ValueError(f"not a readable array ({reason or 'cut off'})") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{array.dtype} found, numbers expected")
    return array


def _of_archive(archive: np.lib.npyio.NpzFile) -> np.ndarray:
    with archive:
        key = next((key for key in KEYS if key in archive.files), None)
        if key is None:
            raise ValueError(f"keys {archive.files} found, {' or '.join(KEYS)} expected")
        return archive[key]


def read_regions(path: Path, spatial: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(P, F) features of a file, and the boxes (P, 4) of a grid's cells or of the whole picture.

    Args:
        path (Path): an .npy or .npz file.
        spatial (bool): regions or a grid; False: one global vector.

    Raises:
        ValueError: another shape.
    """
    array = read_array(path)
    if spatial and array.ndim == 3 and array.size:
        height, width, _ = array.shape
        return array.reshape(height * width, -1), grid_boxes(height, width).numpy()
    if spatial and array.ndim == 2 and array.size:
        return array, None
    if not spatial and array.size and array.size == array.shape[-1]:
        return array.reshape(1, -1), grid_boxes(1, 1).numpy()
    expected = "(P, F) or (height, width, F)" if spatial else "(F,)"
    raise ValueError(f"shape {array.shape} found, {expected} expected")


def to_fractions(boxes: np.ndarray, number: int, size: tuple[int, int]) -> np.ndarray:
    """Boxes in pixels (P, 4) as fractions of the picture.

    Raises:
        ValueError: another shape, sizes unknown, or boxes that cannot be pixels of this picture.
    """
    if boxes.shape != (number, 4):
        raise ValueError(f"boxes of shape {boxes.shape} found, ({number}, 4) expected")
    if not number:
        raise ValueError("no box found, 1 or more expected")
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(
            "the size of the picture is unknown, which boxes in pixels need to become relative: "
            "--data DATA (noted in its annotations) or --images FOLDER (read from the files) "
            "expected"
        )
    values = boxes.astype(np.float64)
    if values.max() <= 1 < min(size):
        raise ValueError("boxes from 0 to 1 found, pixels expected")
    limits = np.array([width, height, width, height])
    outside = max(-values.min(), (values - limits).max())
    if outside > PIXEL_SLACK:
        raise ValueError(
            f"a box reaches {outside:.0f} pixels beyond the picture ({width} x {height})"
        )
    return (values / limits).clip(0, 1)


# ---------------------------------------------------------------------------------- TSV files


def import_tsv(
    output: str | Path,
    files: Sequence[str | Path],
    *,
    image_ids: Collection[int] | None = None,
    source: str = "tsv",
    write: WriteOptions = WriteOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """A store from the TSV files of bottom-up-attention.

    Args:
        output (str | Path): the store to write.
        files (Sequence[str | Path]): the TSV files.
        image_ids (Collection[int] | None): import these pictures only, all of them; None: every
            line.
        source (str): a name for the features; stores of different sources are told apart by it.
        write (WriteOptions): how the store is written.

    Returns:
        dict: output, pictures, regions, feature_dim, bytes, resumed, duplicates (lines of pictures
        that came before; they are left out).

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not what it should be (file and line are named; what came before is
            kept), or pictures are missing.
        FileExistsError: the output is there already, or a part of it that was begun differently.
        OSError: there is too little room on the disk.
    """
    check_free(output, write.overwrite)
    paths = [Path(file) for file in files]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such TSV file")
    if image_ids is None:  # base64 holds three bytes in four letters
        share = 3 / 4 * (1 / 2 if write.half else 1)
        check_disk(output, int(share * sum(path.stat().st_size for path in paths)))
    feature_dim = _first_row(paths).regions.shape[1]
    wanted = None if image_ids is None else set(image_ids)
    plan = {"pictures": _hash_ids(wanted)}
    with StoreWriter(output, imported_signature(source), feature_dim, True, plan, write) as writer:
        resumed = len(writer.done)
        seen, duplicates = _append_lines(writer, paths, wanted, write.progress)
        missing = sorted((wanted or set()) - seen)
        if missing:
            raise ValueError(
                f"{', '.join(map(str, paths))}: no line for {len(missing)} of {len(wanted or ())} "
                f"pictures, the first is {missing[0]}; what was read is kept, name the file that "
                "has them as well"
            )
        writer.finish()
    return writer.summary() | {"resumed": resumed, "duplicates": duplicates}


def _first_row(paths: Sequence[Path]) -> Row:
    """The first picture of the files.

    Raises:
        ValueError: there is none, or its line is damaged.
    """
    for path in paths:
        for line in read_lines(path):
            try:
                return parse(line.fields)
            except ValueError as error:
                raise line_error(path, line.number, line.is_ended, error) from error
    raise ValueError(f"{', '.join(map(str, paths)) or 'files'}: no line, at least one expected")


def _append_lines(
    writer: StoreWriter, paths: Sequence[Path], wanted: set[int] | None, progress: bool
) -> tuple[set[int], int]:
    """Append the pictures that are wanted; all ids that were there, and the number of repetitions.

    Raises:
        ValueError: what is wrong in which file and line.
    """
    seen: set[int] = set()
    duplicates = 0
    total = sum(path.stat().st_size for path in paths)
    scale = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(total=total, desc="import", disable=not progress, **scale) as bar:
        for path in paths:
            for line in read_lines(path):
                bar.update(line.num_bytes)
                if wanted is not None and line.image_id not in wanted:
                    continue
                duplicates += line.image_id in seen
                seen.add(line.image_id)
                if line.image_id in writer.done:
                    continue
                try:
                    row = parse(line.fields)
                    boxes = to_fractions(row.boxes, len(row.regions), row.size)
                    writer.append(line.image_id, row.regions, boxes, row.size)
                except ValueError as error:
                    raise line_error(path, line.number, line.is_ended, error) from error
                bar.set_postfix_str(f"{len(writer.done)} pictures", refresh=False)
    return seen, duplicates
