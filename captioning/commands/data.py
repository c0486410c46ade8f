"""`data KIND`: make, convert or check a data set; a module `data_KIND.py` for each kind."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands import data_picturebook, data_shards
from captioning.commands.flags import new_parser

KINDS = {
    "picturebook": data_picturebook,
    "shards": data_shards,
}


def parser() -> ArgumentParser:
    """Flags of `data`."""
    flags = new_parser("Make, convert or check a data set.")
    commands = flags.add_subcommands(dest="kind")
    for name, kind in KINDS.items():
        commands.add_subcommand(name, kind.parser())
    return flags


def run(arguments: Namespace) -> int:
    """Do what the kind says."""
    return KINDS[arguments.kind].run(arguments[arguments.kind])
