"""`features import`, `features import-bottom-up`: features that others computed."""

from __future__ import annotations

from collections.abc import Mapping

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.features_flags import (
    add_dtype,
    add_sizes,
    add_writing,
    give,
    given,
    sizes_of,
    write_options,
)
from captioning.commands.flags import UsageError, new_parser


def import_parser() -> ArgumentParser:
    """Flags of `features import`."""
    flags = new_parser("Take over features that others computed (.npy, .npz, bottom-up TSV).")
    flags.add_argument("--att", type=str, default="", help="folder of <id>.npz: regions or grids")
    flags.add_argument("--fc", type=str, default="", help="folder of <id>.npy: a vector each")
    flags.add_argument("--box", type=str, default="", help="folder of <id>.npy: boxes in pixels")
    flags.add_argument("--tsv", type=str, nargs="+", default=[], help="bottom-up TSV files")
    _add_rest(flags, "")
    return flags


def bottom_up_parser() -> ArgumentParser:
    """Flags of `features import-bottom-up`."""
    flags = new_parser(
        "Take over bottom-up regions: the published TSV files, as `features import --tsv` does, "
        "or make_bu_data's folders, whose pictures --images can give the sizes of."
    )
    flags.add_argument("--tsv", type=str, nargs="+", default=[], help="the TSV files")
    flags.add_argument(
        "--folder",
        type=str,
        default="",
        help="what make_bu_data wrote: P for P_att (regions) and P_box (boxes in pixels); P_fc is "
        "not needed, it holds the means of the regions",
    )
    _add_rest(flags, "bottom_up")
    return flags


def _add_rest(flags: ArgumentParser, source: str) -> None:
    add_sizes(flags)
    text = f"a name that tells features apart{' (default: %(default)s)' if source else ''}"
    flags.add_argument("--source", type=str, default=source, help=text)
    add_dtype(flags)
    add_writing(flags)


def run_import(arguments: Namespace) -> int:
    """Write a store from other files."""
    folders = given(arguments, ("att", "fc", "box"))
    if bool(folders) == bool(arguments.tsv):
        both = "both" if folders else "neither"
        raise UsageError(f"--att or --fc, and --tsv: {both} received, one of the two expected")
    if set(folders) == {"box"} or set(folders) == {"box", "fc"}:
        raise UsageError("--box: boxes are those of --att, which is missing")
    return _import(arguments, folders)


def run_bottom_up(arguments: Namespace) -> int:
    """Write a store from bottom-up regions."""
    if bool(arguments.folder) == bool(arguments.tsv):
        both = "both" if arguments.folder else "neither"
        raise UsageError(f"--folder and --tsv: {both} received, one of the two expected")
    prefix = arguments.folder
    folders = {"att": f"{prefix}_att", "box": f"{prefix}_box"} if prefix else {}
    return _import(arguments, folders)


def _import(arguments: Namespace, folders: Mapping[str, str]) -> int:
    """Write a store from the folders `att`, `fc` and `box`, or from TSV files."""
    from captioning.features.importers import import_arrays, import_tsv

    if arguments.tsv and arguments.images:
        raise UsageError("--images: not with --tsv, whose lines hold the sizes of the pictures")
    sizes = sizes_of(arguments, folders.get("att") or folders.get("fc", ""))
    write = write_options(arguments)
    named = {"source": arguments.source} if arguments.source else {}
    if arguments.tsv:
        files = arguments.tsv
        result = import_tsv(arguments.output, files, image_ids=sizes, write=write, **named)
    else:
        result = import_arrays(arguments.output, sizes=sizes, write=write, **folders, **named)
    return give(result, arguments)
