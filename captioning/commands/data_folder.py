"""`data folder`: a data set from a folder of pictures with a text file beside each."""

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
from captioning.commands.flags import new_parser


def parser() -> ArgumentParser:
    """Flags of `data folder`."""
    flags = new_parser("Convert a folder of pictures with texts of the same names beside them.")
    flags.add_argument(
        "folder", type=str, help="a.jpg and a.txt, one caption a line; may hold train, val, test"
    )
    add_output_flags(flags)
    add_name_flags(flags)
    add_drawn_splits(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Convert."""
    from captioning.datasets.tables import read_folder

    splits, notes = read_folder(arguments.folder, **drawn_splits(arguments))
    show(write(arguments, splits, arguments.folder, arguments.folder, notes))
    return 0
