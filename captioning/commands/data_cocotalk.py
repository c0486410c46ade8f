"""`data cocotalk`: a data set from labels and features that self-critical.pytorch preprocessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.data_flags import add_name_flags, add_output_flags, show, write
from captioning.commands.flags import UsageError, new_parser


def parser() -> ArgumentParser:
    """Flags of `data cocotalk`."""
    flags = new_parser("Convert labels (and features) that self-critical.pytorch preprocessed.")
    flags.add_argument("file", type=str, help="cocotalk.json")
    flags.add_argument(
        "labels", type=str, nargs="?", default="", help="cocotalk_label.h5; default: no captions"
    )
    for name, text in (
        ("images", "folder of the pictures; default: none, for training from features only"),
        ("att", "folder of <id>.npz with the features of regions"),
        ("fc", "folder of <id>.npy with one vector a picture, used without --att only"),
        ("box", "folder of <id>.npy with the boxes of the regions"),
        ("store", "feature store to write; default: OUTPUT/features.h5"),
    ):
        flags.add_argument(f"--{name}", type=str, default="", help=text)
    add_output_flags(flags)
    add_name_flags(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Convert the labels, after the features, whose import can be stopped and goes on."""
    from captioning.datasets.layout import check_output
    from captioning.datasets.legacy import read_cocotalk

    if (arguments.box or arguments.store) and not (arguments.att or arguments.fc):
        raise UsageError("att, fc: none received, the folder of features expected")
    images = Path(arguments.images) if arguments.images else None
    splits, notes = read_cocotalk(arguments.file, arguments.labels)
    check_output(Path(arguments.output), splits, images, arguments.overwrite, arguments.pictures)
    features = import_features(arguments, splits)
    info = write(arguments, splits, images, arguments.file, notes)
    show(info | ({"features": features} if features else {}))
    return 0


def import_features(arguments: Namespace, splits: Mapping[str, Sequence]) -> dict[str, Any]:
    """The feature store of the pictures in the labels; empty when no folder was named."""
    if not arguments.att and not arguments.fc:
        return {}
    from captioning.features.importers import import_arrays
    from captioning.features.writer import WriteOptions

    return import_arrays(
        arguments.store or Path(arguments.output) / "features.h5",
        att=arguments.att or None,
        fc=arguments.fc or None,
        box=arguments.box or None,
        sizes={r.image_id: (r.width, r.height) for records in splits.values() for r in records},
        source=Path(arguments.att or arguments.fc).name,
        write=WriteOptions(overwrite=arguments.overwrite, progress=True),
    )
