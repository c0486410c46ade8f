"""`data coco`: fetch COCO's pictures and captions and write them as a data set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, new_parser, wrong_usage

if TYPE_CHECKING:
    from captioning.datasets.coco_parts import Request, Step

FILES = {
    "annotations": "annotations_trainval2014.zip, or the folder of its JSON files",
    "karpathy": "caption_datasets.zip or dataset_coco.json",
    "test_info": "image_info_test2014.zip or its JSON file (official split only)",
    "train_images": "train2014.zip, or the folder of its pictures, which is linked to",
    "val_images": "val2014.zip, or such a folder",
    "test_images": "test2014.zip, or such a folder (official split only)",
}


def parser() -> ArgumentParser:
    """Flags of `data coco`."""
    flags = new_parser(
        "Download COCO (20 GB), check it, unpack it and write it as a data set. Typed again, the "
        "same command goes on where it was stopped."
    )
    add = flags.add_argument
    add(
        "--output",
        type=str,
        default="data/coco",
        help="folder to write; see also `downloads` there",
    )
    add("--split", type=str, default="karpathy", help="karpathy (5000 val, 5000 test) or official")
    add("--year", type=int, default=2014, help="2014 or 2017; the same pictures, cut otherwise")
    add(
        "--parts",
        type=str,
        default="",
        help="pictures to fetch, e.g. val_images,train_images; annotations: none, for use with a "
        "feature store; by default all of the split",
    )
    for part, what in FILES.items():
        add(f"--{part}", type=str, default="", help=f"take this instead of a download: {what}")
    add("--mirror", type=str, default="", help="address with the folders zips/ and annotations/")
    add("--any_version", action="store_true", help="accept archives with another checksum")
    add("--keep_archives", action="store_true", help="keep the archives once they are unpacked")
    add("--allow_missing", action="store_true", help="go on without pictures that are missing")
    add("--overwrite", action="store_true", help="replace the annotations of another split")
    add("--dry_run", action="store_true", help="show what would be done and stop")
    return flags


def run(arguments: Namespace) -> int:
    """Show what there is to do, and do it."""
    from captioning.datasets.coco import prepare
    from captioning.datasets.coco_parts import is_complete, make_plan

    request = _request(arguments)
    steps = make_plan(request)
    complete = is_complete(request, steps)
    text = f"{request.output} is complete" if complete else _table(request, steps)
    print(text, file=sys.stdout if arguments.dry_run else sys.stderr)
    if arguments.dry_run:
        return 0
    try:
        info = prepare(request)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("stopped; the same command goes on from here") from error
    for note in info["notes"] if not complete else []:
        print(f"note: {note}", file=sys.stderr)
    print(json.dumps(info, indent=1))
    return 0


def _request(arguments: Namespace) -> Request:
    from captioning.datasets.coco_parts import Request

    if arguments.mirror and not arguments.mirror.startswith(("http://", "https://")):
        raise UsageError(
            f"mirror: {arguments.mirror!r} received, http://... or https://... expected"
        )
    with wrong_usage():
        return Request(
            Path(arguments.output),
            arguments.split,
            arguments.year,
            tuple(part.strip() for part in arguments.parts.split(",") if part.strip()),
            {part: Path(arguments[part]) for part in FILES if arguments[part]},
            arguments.mirror,
            arguments.any_version,
            arguments.keep_archives,
            arguments.overwrite,
            arguments.allow_missing,
        )


def _table(request: Request, steps: list[Step]) -> str:
    """The parts with their sizes, what is there of them, and the room they need."""
    from captioning.datasets.coco_parts import space_needed
    from captioning.disk import free_space, in_bytes

    rows = [("part", "size", "to load", "state", "from")]
    for step in steps:
        size = in_bytes(step.size) if step.size else "unknown"
        left = in_bytes(step.to_load) if step.to_load or step.size else "unknown"
        source = request.local.get(step.part, step.url)
        rows.append((step.part, size, left, step.state, str(source)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    load = in_bytes(sum(step.to_load for step in steps))
    load += " or more" if any(step.size == 0 for step in steps) else ""
    needed, free = space_needed(request, steps), free_space(request.output)
    short = "" if needed < free else ": too little"
    lines.append(f"to load: {load}; disk: {in_bytes(needed)} needed, {in_bytes(free)} free{short}")
    return "\n".join(lines)
