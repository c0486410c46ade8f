"""`data shards`: a data set's training pictures in tar files that are read as streams."""

from __future__ import annotations

import filecmp
import json
import shutil
import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import check_at_least, new_parser


def parser() -> ArgumentParser:
    """Flags of `data shards`."""
    flags = new_parser(
        "Write a split's pictures into webdataset tar shards; training streams them."
    )
    flags.add_argument("data", type=str, help="data-set folder with pictures")
    flags.add_argument("--output", type=str, required=True, help="data-set folder with shards")
    flags.add_argument("--split", type=str, default="train", help="split to write as shards")
    flags.add_argument("--pictures", type=int, default=5000, help="pictures in a shard")
    flags.add_argument("--seed", type=int, default=0, help="seed of the order of the pictures")
    flags.add_argument(
        "--folders", type=str, default="", help="put shards there in turn, e.g. /disk1/a,/disk2/a"
    )
    return flags


def run(arguments: Namespace) -> int:
    """Write the shards, then what training needs beside them."""
    from tqdm import tqdm

    from captioning.datasets.shards import index_of, write_shards
    from captioning.files import write_atomically

    check_at_least(arguments, pictures=1)
    data, output, split = Path(arguments.data), Path(arguments.output), arguments.split
    folders = [Path(folder) for folder in arguments.folders.split(",") if folder]
    rest = [] if output.resolve() == data.resolve() else files_of_the_rest(data, output, split)
    shards = write_shards(data, split, output, arguments.pictures, arguments.seed, folders)
    done = list(tqdm(shards, desc="shards", unit="shard", file=sys.stderr))
    for source, target in rest:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda part, source=source: shutil.copyfile(source, part))
    record = {"index": str(index_of(output, split)), "shards": len(done)}
    print(json.dumps(record | {"pictures": sum(shard.pictures for shard in done)}))
    return 0


def files_of_the_rest(data: Path, output: Path, split: str) -> list[tuple[Path, Path]]:
    """What has to be copied, and whither: annotations, and the pictures of all other splits.

    Raises:
        FileNotFoundError: a picture is missing.
        FileExistsError: the output has other annotations already.
        ValueError: a picture's name leads out of the folder.
    """
    names = [path for path in (data / "annotations").glob("*") if path.is_file()]
    pairs = [(path, output / "annotations" / path.name) for path in names]
    pairs += [(path, output / path.name) for path in [data / "info.json"] if path.is_file()]
    for source, target in pairs:
        if target.exists() and not filecmp.cmp(source, target, shallow=False):
            raise FileExistsError(f"{target}: holds something else; choose another output")
    for path in names:
        kind, _, name = path.stem.partition("_")
        if kind not in ("captions", "images") or name == split:
            continue
        for image in json.loads(path.read_text("utf-8"))["images"]:
            source = data / "images" / image["file_name"]
            target = output / "images" / image["file_name"]
            if not target.resolve().is_relative_to((output / "images").resolve()):
                raise ValueError(f"{path}: file_name {image['file_name']!r} leads out of images/")
            if not source.is_file():
                raise FileNotFoundError(f"{source}: no such picture ({path.name} names it)")
            pairs.append((source, target))
    return pairs
