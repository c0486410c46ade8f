"""`data flickr`: a data set from the caption files of Flickr8k and Flickr30k."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.data_flags import (
    add_drawn_splits,
    add_name_flags,
    add_output_flags,
    drawn_splits,
    show,
    write,
)
from captioning.commands.flags import UsageError, new_parser

SPLITS = ("train", "val", "test")


def parser() -> ArgumentParser:
    """Flags of `data flickr`."""
    flags = new_parser("Convert a caption file of Flickr8k or Flickr30k.")
    flags.add_argument(
        "file",
        type=str,
        help="Flickr8k.token.txt, results_20130124.token, captions.txt, results.csv",
    )
    flags.add_argument("--images", type=str, required=True, help="folder of the pictures")
    for split in SPLITS:
        text = f"file with the names of the {split} pictures, e.g. Flickr_8k.{split}Images.txt"
        flags.add_argument(f"--{split}_list", type=str, default="", help=text)
    add_output_flags(flags)
    add_name_flags(flags)
    add_drawn_splits(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Convert."""
    from captioning.datasets.flickr import read_flickr
    from captioning.datasets.karpathy import FLICKR_TERMS

    lists = {split: arguments[f"{split}_list"] for split in SPLITS if arguments[f"{split}_list"]}
    if lists and "train" not in lists:
        raise UsageError("train_list: none received, but others; all lists or none expected")
    splits, notes = read_flickr(arguments.file, lists or None, **drawn_splits(arguments))
    if arguments.licence == "unknown":
        arguments.licence = FLICKR_TERMS
    show(write(arguments, splits, arguments.images, arguments.file, notes))
    return 0
