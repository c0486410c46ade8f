"""What the converting kinds of `data` share: flags of what they write, and what they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError


def add_output_flags(flags: ArgumentParser) -> None:
    """Where to write, and how the pictures come in."""
    flags.add_argument("--output", type=str, required=True, help="data-set folder to write")
    flags.add_argument(
        "--pictures",
        choices=("link", "copy"),
        default="link",
        help="link to the pictures folder, or copy the pictures (default: %(default)s)",
    )
    flags.add_argument(
        "--allow_missing",
        action="store_true",
        help="leave out pictures that are not there, even if they are more than a hundredth",
    )
    flags.add_argument("--overwrite", action="store_true", help="replace an earlier conversion")


def add_name_flags(flags: ArgumentParser) -> None:
    """What is written about the data into info.json."""
    flags.add_argument("--name", type=str, default="", help="of the data set; default: the output")
    flags.add_argument("--licence", type=str, default="unknown", help="terms of the data")


def add_drawn_splits(flags: ArgumentParser) -> None:
    """How pictures are divided that come without splits."""
    flags.add_argument("--encoding", type=str, default="utf-8-sig", help="of the text, e.g. cp1252")
    for split in ("val", "test"):
        text = f"share of the pictures drawn for {split} where no splits are given"
        flags.add_argument(f"--{split}", type=float, default=0.1, help=text)
    flags.add_argument("--seed", type=int, default=0, help="other seeds draw other pictures")


def drawn_splits(arguments: Namespace) -> dict[str, Any]:
    """The arguments that the readers take for this.

    Raises:
        UsageError: a share is out of range.
    """
    for name in ("val", "test"):
        if not 0 <= arguments[name] < 1:
            raise UsageError(f"{name}: {arguments[name]} received, a share of 0 to 1 expected")
    return {name: arguments[name] for name in ("encoding", "val", "test", "seed")}


def write(
    arguments: Namespace,
    splits: Mapping[str, Sequence],
    images: str | Path | None,
    source: str | Path,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Write the folder; what its info.json holds."""
    from captioning.datasets.layout import write_layout

    return write_layout(
        arguments.output,
        splits,
        images,
        {
            "name": arguments.name or Path(arguments.output).absolute().name,
            "licence": arguments.licence,
            "source": Path(source).name,
            "notes": list(notes),
        },
        overwrite=arguments.overwrite,
        pictures=arguments.pictures,
        allow_missing=arguments.allow_missing,
    )


def show(info: Mapping[str, Any]) -> None:
    """Notes for people, the rest for programs as well."""
    for note in info["notes"]:
        print(note, file=sys.stderr)
    print(json.dumps(info, indent=1, ensure_ascii=False))
