"""`data karpathy`: a data set from one of Karpathy's split files and its pictures."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.data_flags import add_output_flags, show
from captioning.commands.flags import new_parser


def parser() -> ArgumentParser:
    """Flags of `data karpathy`."""
    flags = new_parser("Convert Karpathy's split file of COCO, Flickr8k or Flickr30k.")
    flags.add_argument("file", type=str, help="dataset_NAME.json, or a zip archive that holds it")
    flags.add_argument(
        "--images",
        type=str,
        required=True,
        help="folder of the pictures; of COCO's the one that holds train2014 and val2014",
    )
    flags.add_argument("--member", type=str, default="", help="which file of the archive")
    add_output_flags(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Convert."""
    from captioning.datasets.karpathy import convert_karpathy

    info = convert_karpathy(
        arguments.file,
        arguments.images,
        arguments.output,
        member=arguments.member,
        overwrite=arguments.overwrite,
        pictures=arguments.pictures,
        allow_missing=arguments.allow_missing,
    )
    show(info)
    return 0
