"""Tar shards: a split's pictures in files of about a gigabyte, in the order they are read.

Data that outgrows one disk, or lies on a network drive, is read in long streams instead of picture
by picture. A folder of shards is a data set like any other (DESIGN: data-set folder) in which
`shards/SPLIT/` takes the place of the split's pictures in `images/`. `index.json` lists the shards
with their numbers of pictures; a shard may lie anywhere, its path is relative to the index or
absolute. The format is webdataset's: `000000391895.jpg` (the picture's own bytes) beside
`000000391895.json` (image_id, file_name, captions).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webdataset import TarWriter
from webdataset.tariterators import group_by_keys, tar_file_expander

from captioning.files import read_json, write_atomically
from data_loader import read_annotations

FORMAT = 1
INDEX = "index.json"


@dataclass(frozen=True)
class Shard:
    """One tar file and the number of its pictures."""

    path: Path
    pictures: int


def index_of(data: str | Path, split: str) -> Path:
    """Where the list of a split's shards is, if it has shards."""
    return Path(data) / "shards" / split / INDEX


def read_index(data: str | Path, split: str) -> list[Shard]:
    """The shards of a split, in the order of the index.

    Raises:
        FileNotFoundError: no index, or a shard it names is missing.
        ValueError: the index is damaged.
    """
    path = index_of(data, split)
    record = read_json(path, "index of shards")
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path}: format {found!r} found, {FORMAT} expected")
    try:
        listed = [(path.parent / one["path"], int(one["pictures"])) for one in record["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not an index of shards ({error!r})") from error
    shards = [Shard(*one) for one in listed]
    for shard in shards:
        if not shard.path.is_file():
            raise FileNotFoundError(f"{shard.path}: no such shard ({path} names it)")
    return shards


def has_words(annotation: dict[str, Any]) -> bool:
    """Whether there is anything to learn from a caption; the loader asks the same."""
    return re.search(r"\w", annotation["caption"]) is not None


def write_shards(
    data: str | Path,
    split: str,
    output: str | Path,
    pictures: int = 10_000,
    seed: int = 0,
    folders: Sequence[str | Path] = (),
) -> Iterator[Shard]:
    """Write a split's pictures into shards; each is handed out when it is complete.

    Pictures without a caption are left out. A second call after an interruption goes on where the
    first one ended.

    Args:
        data (str | Path): data-set folder with pictures.
        split (str): which split.
        output (str | Path): data-set folder with shards; may be `data` itself.
        pictures (int): pictures in a shard, >= 1.
        seed (int): of the order; neighbours in a shard are met close to each other in training.
        folders (Sequence): where shards are put in turn (several disks); none: beside the index.

    Raises:
        FileNotFoundError, ValueError: no such split, a picture is missing, a number too small.
        FileExistsError: there are shards of other pictures or another size.
    """
    if pictures < 1:
        raise ValueError(f"pictures: {pictures} received, 1 or more expected")
    coco = read_annotations(data, split)
    order = [i for i in sorted(coco.imgs) if any(map(has_words, coco.imgToAnns.get(i, [])))]
    if not order:
        raise ValueError(f"{data}: split {split!r} has no captions; shards are for training")
    ids = _contents(data, coco, order)
    random.Random(seed).shuffle(order)
    index = index_of(output, split)
    index.parent.mkdir(parents=True, exist_ok=True)
    _check_plan(index.parent / "plan.json", {"pictures": pictures, "seed": seed, "ids": ids})
    shards = []
    for number, start in enumerate(range(0, len(order), pictures)):
        chosen = order[start : start + pictures]
        home = Path(folders[number % len(folders)]).resolve() if folders else index.parent
        home.mkdir(parents=True, exist_ok=True)
        path = home / f"{split}-{ids[:8]}-{number:06}.tar"  # no other pictures have this name
        if not path.is_file():  # files are moved into place whole, so one that is there is complete
            write_atomically(path, lambda file, ids=chosen: _write_shard(file, data, coco, ids))
        shards.append(Shard(path, len(chosen)))
        yield shards[-1]
    listed = [
        {"path": str(s.path if folders else s.path.name), "pictures": s.pictures} for s in shards
    ]
    text = json.dumps({"format": FORMAT, "split": split, "shards": listed}, indent=1)
    write_atomically(index, lambda file: file.write_text(text, "utf-8"))


def _contents(data: str | Path, coco: Any, image_ids: Sequence[int]) -> str:
    """What tells these pictures from all others: their ids, names, sizes and dates.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    digest = hashlib.sha256()
    for image_id in image_ids:
        path = Path(data) / "images" / coco.imgs[image_id]["file_name"]
        try:
            found = path.stat()
        except OSError as error:
            raise FileNotFoundError(f"{path}: no such picture") from error
        digest.update(f"{image_id} {path.name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _check_plan(path: Path, plan: dict[str, Any]) -> None:
    """Remember what is being written, and refuse to mix it with something else."""
    if path.is_file() and (found := read_json(path, "plan of shards")) != plan:
        old = found if isinstance(found, dict) else {}
        name = next((key for key in plan if old.get(key) != plan[key]), "plan")
        raise FileExistsError(
            f"{path.parent}: holds shards with {name} {old.get(name)!r}, {plan.get(name)!r} asked "
            "for; remove them or choose another output"
        )
    write_atomically(path, lambda file: file.write_text(json.dumps(plan), "utf-8"))


def _write_shard(path: Path, data: str | Path, coco: Any, image_ids: Sequence[int]) -> None:
    """One tar file: for each picture its bytes and what is said of it."""
    with path.open("wb") as file, TarWriter(file, mtime=0, encoder=False) as tar:
        for image_id in image_ids:
            name = coco.imgs[image_id]["file_name"]
            source = Path(data) / "images" / name
            captions = [a["caption"] for a in coco.imgToAnns.get(image_id, [])]
            said = {"image_id": image_id, "file_name": name, "captions": captions}
            kind = source.suffix.lower().lstrip(".")
            kind = "img" if kind in ("", "json") else kind
            tar.write(
                {
                    "__key__": f"{image_id:012}",
                    kind: source.read_bytes(),
                    "json": json.dumps(said, ensure_ascii=False).encode(),
                }
            )


def read_shard(shard: Shard) -> Iterator[tuple[int, str, bytes]]:
    """The pictures of a shard in order: image id, name for messages, content.

    Raises:
        ValueError: the file is damaged, or holds fewer pictures than the index says.
    """
    number = 0
    try:
        with shard.path.open("rb") as stream:
            files = tar_file_expander([{"url": str(shard.path), "stream": stream}])
            for sample in group_by_keys(files):
                said = json.loads(sample["json"])
                kinds = [kind for kind in sample if not kind.startswith("__") and kind != "json"]
                number += 1
                yield said["image_id"], f"{shard.path}: {said['file_name']}", sample[kinds[0]]
    except (tarfile.TarError, OSError, KeyError, IndexError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{shard.path}: damaged shard ({error}); delete it and run `data shards` again"
        ) from error
    if number != shard.pictures:
        raise ValueError(
            f"{shard.path}: {number} pictures found, {shard.pictures} expected by the index; "
            "delete it and run `data shards` again"
        )
