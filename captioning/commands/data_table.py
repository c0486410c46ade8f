"""`data table`: a data set from a table of pictures and captions (CSV, TSV, JSON lines)."""

from __future__ import annotations

from pathlib import Path

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
    """Flags of `data table`."""
    flags = new_parser("Convert a table of pictures and captions (CSV, TSV, JSON lines).")
    flags.add_argument("file", type=str, help=".csv, .tsv, .txt, .jsonl or .json")
    flags.add_argument(
        "--images", type=str, default="", help="folder of the pictures; default: that of the table"
    )
    for name, text in (
        ("image_column", "names of the picture files; default: image, file_name or the like"),
        ("caption_columns", "one or several, separated by commas; default: caption or the like"),
        ("split_column", "train, val, test or other names; default: splits are drawn by picture"),
        ("id_column", "whole numbers; default: pictures are numbered from 1"),
        ("delimiter", "comma, tab, semicolon, pipe or a character; default: as the header says"),
    ):
        flags.add_argument(f"--{name}", type=str, default="", help=text)
    add_output_flags(flags)
    add_name_flags(flags)
    add_drawn_splits(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Convert."""
    from captioning.datasets.tables import Columns, make_relative, read_table

    captions = [name.strip() for name in arguments.caption_columns.split(",")]
    columns = Columns(
        image=arguments.image_column,
        captions=[name for name in captions if name],
        split=arguments.split_column,
        image_id=arguments.id_column,
    )
    settings = drawn_splits(arguments) | {"delimiter": arguments.delimiter}
    splits, notes = read_table(arguments.file, columns, **settings)
    images = arguments.images or Path(arguments.file).parent
    make_relative(splits, images)
    show(write(arguments, splits, images, arguments.file, notes))
    return 0
