"""`data picturebook`: draw the data set of the lessons."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import new_parser


def parser() -> ArgumentParser:
    """Flags of `data picturebook`."""
    flags = new_parser("Draw the picture book: COCO-style data of drawn scenes.")
    flags.add_argument("--output", type=str, default="data/picturebook", help="folder to write")
    for split, number in (("train", 3000), ("val", 300), ("test", 300)):
        flags.add_argument(f"--{split}", type=int, default=number, help=f"{split} pictures")
    flags.add_argument("--image_size", type=int, default=128, help="side in pixels")
    flags.add_argument("--seed", type=int, default=0, help="other seeds draw other pictures")
    flags.add_argument("--workers", type=int, default=0, help="processes; 0: one for each core")
    flags.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    return flags


def run(arguments: Namespace) -> int:
    """Draw a picture book."""
    from captioning.datasets.picturebook.writer import write_picturebook

    info = write_picturebook(
        Path(arguments.output),
        train=arguments.train,
        val=arguments.val,
        test=arguments.test,
        image_size=arguments.image_size,
        seed=arguments.seed,
        workers=arguments.workers or None,
        overwrite=arguments.overwrite,
    )
    print(json.dumps(info, indent=1))
    return 0
