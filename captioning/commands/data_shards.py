"""`data shards`: a data set's training pictures in tar files that are read as streams."""

from __future__ import annotations

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

    check_at_least(arguments, pictures=1)
    data, output, split = Path(arguments.data), Path(arguments.output), arguments.split
    folders = [Path(folder) for folder in arguments.folders.split(",") if folder]
    shards = write_shards(data, split, output, arguments.pictures, arguments.seed, folders)
    done = list(tqdm(shards, desc="shards", unit="shard", file=sys.stderr))
    if output.resolve() != data.resolve():
        copy_the_rest(data, output, split)
    record = {"index": str(index_of(output, split)), "shards": len(done)}
    print(json.dumps(record | {"pictures": sum(shard.pictures for shard in done)}))
    return 0


def copy_the_rest(data: Path, output: Path, split: str) -> None:
    """Annotations, and the pictures of all other splits: they are read one by one."""
    shutil.copytree(data / "annotations", output / "annotations", dirs_exist_ok=True)
    if (data / "info.json").is_file():
        shutil.copy2(data / "info.json", output / "info.json")
    paths = [*data.glob("annotations/captions_*.json"), *data.glob("annotations/images_*.json")]
    for path in paths:
        if path.stem.partition("_")[2] == split:
            continue
        for image in json.loads(path.read_text("utf-8"))["images"]:
            target = output / "images" / image["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(data / "images" / image["file_name"], target)
