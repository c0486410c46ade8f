"""COCO's official annotation files, sorted into the splits of a data-set folder.

The files are read item by item where they lie, in their archive or in a folder, so that not even
the instances need much memory.

Source: the formats of https://cocodataset.org/#format-data. Departure: instances keep boxes, areas
and categories, not the outlines.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from captioning.datasets.json_stream import read_items
from captioning.datasets.layout import Record
from captioning.datasets.unpack import find_member, open_member
from captioning.files import write_atomically

HALVES = ("train", "val")  # of the official annotations
INSTANCE_FIELDS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")


def find_json(source: Path, name: str) -> str:
    """Where a JSON file is in a folder, its `annotations`, or a zip archive.

    Returns:
        str: its path there; empty when there is none.

    Raises:
        FileNotFoundError: there is no such archive or folder.
        ValueError: neither a folder nor a whole archive.
    """
    if not source.is_dir():
        return find_member(source, name)
    usual = [PurePosixPath(name), PurePosixPath("annotations", name)]
    return next((str(one) for one in usual if (source / one).is_file()), "")


@contextlib.contextmanager
def _open_json(source: Path, name: str) -> Iterator[BinaryIO]:
    """The stream of such a file; `source` may also be that very file."""
    if source.is_file() and not zipfile.is_zipfile(source) and source.suffix == ".json":
        place, source = source.name, source.parent
    else:
        place = find_json(source, name)
    if not place:
        raise FileNotFoundError(f"{source}: no {name} in it")
    opened = (source / place).open("rb") if source.is_dir() else open_member(source, place)
    with opened as stream:
        yield stream


def _items(source: Path, name: str, keys: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with _open_json(source, name) as stream:
        yield from read_items(stream, keys, f"{source}: {name}")


def read_records(
    source: Path, year: int, split_of: Mapping[int, str] | None = None
) -> dict[str, list[Record]]:
    """Pictures and their captions, as written, from the two official caption files.

    Args:
        source (Path): the archive or the folder of the annotations.
        year (int): 2014 or 2017.
        split_of (Mapping | None): image id to split; None for the official splits.

    Returns:
        dict[str, list[Record]]: by split, train first; file names begin with the official folder.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is damaged, or lacks pictures that have a split.
    """
    splits: dict[str, list[Record]] = {name: [] for name in ("train", "val", "test")}
    for half in HALVES:
        name = f"captions_{half}{year}.json"
        captions: dict[int, list[str]] = defaultdict(list)
        images: dict[int, Record] = {}
        for key, item in _items(source, name, ("images", "annotations")):
            if key == "images":
                record = _record(item, f"{half}{year}", f"{source}: {name}")
                images[record.image_id] = record
            else:
                one = _pick(item, ("image_id", "caption"), f"{source}: {name}")
                captions[one["image_id"]].append(one["caption"])
        for number, record in images.items():
            if split := half if split_of is None else split_of.get(number, ""):
                record.captions = captions[number]
                splits[split].append(record)
    found = sum(map(len, splits.values()))
    if split_of is not None and found < len(split_of):
        raise ValueError(
            f"{source}: {len(split_of) - found:,} of the {len(split_of):,} pictures of Karpathy's "
            "split are not in it; the official annotations of train and val expected"
        )
    return {split: records for split, records in splits.items() if records}


def read_test_records(source: Path, year: int) -> list[Record]:
    """The official test pictures, which have no captions.

    Args:
        source (Path): `image_info_testYEAR.zip`, that JSON file or its folder.
        year (int): 2014 or 2017.

    Raises:
        FileNotFoundError, ValueError: see `read_records`.
    """
    name = f"image_info_test{year}.json"
    items = _items(source, name, ("images",))
    return [_record(item, f"test{year}", f"{source}: {name}") for _, item in items]


def has_instances(source: Path, year: int) -> bool:
    """Whether the instances are there too."""
    return all(find_json(source, f"instances_{half}{year}.json") for half in HALVES)


def write_instances(
    folder: Path, source: Path, year: int, split: str, records: Sequence[Record]
) -> int:
    """Write `instances_SPLIT.json` with what is in the pictures of one split.

    Args:
        folder (Path): annotations folder of the data set.
        source (Path): the archive or the folder of the official annotations.
        year (int): 2014 or 2017.
        split (str): its name.
        records (Sequence[Record]): its pictures.

    Returns:
        int: the number of things.

    Raises:
        ValueError: a file is damaged.
        OSError: the disk is full; what stood there is kept.
    """
    images = [
        {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
        for one in records
    ]
    halves = [half for half in HALVES if any(_half(one) == f"{half}{year}" for one in records)]
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        categories: dict[int, dict[str, Any]] = {}
        wanted = {one.image_id for one in records}
        with temporary.open("w", encoding="utf-8") as file:
            file.write(f'{{"images": {json.dumps(images)},\n"annotations": [')
            for row in _instances(source, year, halves, categories):
                if row["image_id"] in wanted:
                    file.write((",\n" if count else "\n") + json.dumps(row))
                    count += 1
            file.write(f'],\n"categories": {json.dumps(list(categories.values()))}}}\n')

    write_atomically(folder / f"instances_{split}.json", write)
    return count


def _instances(
    source: Path, year: int, halves: Iterable[str], categories: dict[int, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Instances without their outlines; the categories are gathered on the way."""
    for half in halves:
        name = f"instances_{half}{year}.json"
        for key, item in _items(source, name, ("annotations", "categories")):
            if key == "categories":
                categories[_pick(item, ("id", "name"), f"{source}: {name}")["id"]] = item
            else:
                yield _pick(item, INSTANCE_FIELDS, f"{source}: {name}")


def _half(record: Record) -> str:
    return record.file_name.partition("/")[0]


def _record(item: Any, folder: str, name: str) -> Record:
    """A picture without captions; of its file name the last part counts."""
    row = _pick(item, ("id", "file_name"), name)
    place = f"{folder}/{PurePosixPath(str(row['file_name'])).name}"
    return Record(place, row["id"], (), item.get("width", 0), item.get("height", 0))


def _pick(item: Any, fields: Iterable[str], name: str) -> dict[str, Any]:
    """Some fields of an entry.

    Raises:
        ValueError: one of them is missing.
    """
    try:
        return {one: item[one] for one in fields}
    except (KeyError, TypeError):
        wanted = ", ".join(fields)
        raise ValueError(f"{name}: {item!r:.100} found, an entry with {wanted} expected") from None
