"""`data KIND`: make, convert or check a data set; a module `data_KIND.py` for each kind."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands import (
    data_coco,
    data_cocotalk,
    data_flickr,
    data_folder,
    data_karpathy,
    data_picturebook,
    data_shards,
    data_table,
    data_validate,
)
from captioning.commands.flags import add_kinds, new_parser

KINDS = {
    "picturebook": data_picturebook,
    "coco": data_coco,
    "karpathy": data_karpathy,
    "flickr": data_flickr,
    "table": data_table,
    "folder": data_folder,
    "cocotalk": data_cocotalk,
    "validate": data_validate,
    "shards": data_shards,
}


def parser() -> ArgumentParser:
    """Flags of `data`."""
    flags = new_parser("Make, convert or check a data set.")
    add_kinds(flags, "data", {name: kind.parser() for name, kind in KINDS.items()})
    return flags


def run(arguments: Namespace) -> int:
    """Do what the kind says."""
    return KINDS[arguments.kind].run(arguments[arguments.kind])
