"""`features regions`, `features areas`: features of boxes, and which cells of a grid they cover."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.features_flags import (
    add_data,
    add_eyes,
    add_looking,
    add_setting,
    add_sizes,
    add_writing,
    eyes_of,
    give,
    given,
    is_plain,
    looking_of,
    pictures_of,
    sizes_of,
    splits_of,
)
from captioning.commands.flags import UsageError, check_at_least, checked, new_parser, wrong_usage
from captioning.features.detector_settings import DetectorConfig, check_numbers

if TYPE_CHECKING:
    from captioning.features.extract import ExtractOptions
    from captioning.features.looker import Looker
    from captioning.features.pictures import Picture

DETECTOR_FLAGS = tuple(one.name for one in fields(DetectorConfig))
REGION_FLAGS = ("weights", "cut", "padding", "fit", "image_size")  # grid, crops: not in boxes
EYES_FLAGS = ("model", "encoder", *REGION_FLAGS, "max_side")
FIT = "native"  # of --boxes, where nothing else is said: things are small in squeezed photos
FIT_TEXT = "stretch squeezes the whole picture into a square; native leaves the size as it is"


# ----------------------------------------------------------------------------------- regions


def regions_parser() -> ArgumentParser:
    """Flags of `features regions`."""
    flags = new_parser(
        "Features of regions and their boxes: found by a detector, or of an instances file."
    )
    add_data(flags, "data/picturebook", "data-set folder, or (detector) any folder of pictures")
    found = flags.add_argument_group("regions that a detector finds, and what goes with it")
    for one in fields(DetectorConfig):
        if one.name == "detector":
            text = f"let this network find regions, picture by picture, e.g. {one.default}"
            found.add_argument("--detector", type=str, default="", help=text)
        else:
            add_setting(found, one, one.default)
    boxes = flags.add_argument_group("or regions of a file, and what goes with --boxes only")
    boxes.add_argument(
        "--boxes",
        type=str,
        default="",
        help="instances: the boxes of instances_SPLIT.json, seen by --model or --encoder",
    )
    boxes.add_argument(
        "--whole_picture",
        type=bool | None,
        help="the whole picture is one more region, the last (default: true)",
    )
    add_eyes(boxes, REGION_FLAGS, FIT_TEXT, fit=FIT)
    add_looking(flags.add_argument_group("either way"))
    add_writing(flags)
    return flags


def run_regions(arguments: Namespace) -> int:
    """Compute a store of regions, or a shard of it."""
    if bool(arguments.detector) == bool(arguments.boxes):
        both = "both" if arguments.detector else "neither"
        raise UsageError(f"--detector and --boxes: {both} received, one expected")
    options = looking_of(arguments)
    if arguments.detector:
        config = _detector_config(arguments)
        pictures = pictures_of(arguments)
        looker, more = _detector(arguments, config, options), {}
    else:
        _check_boxes(arguments)
        pictures = pictures_of(arguments)
        looker, more = _boxes(arguments, pictures, options)
    from captioning.features.extract import extract_with

    return give(extract_with(looker, pictures, arguments.output, options) | more, arguments)


def _detector_config(arguments: Namespace) -> DetectorConfig:
    """The settings of the detector.

    Raises:
        UsageError: out of range, or flags of the other way to regions.
    """
    for name in given(arguments, (*EYES_FLAGS, "whole_picture")):
        raise UsageError(f"--{name}: not with --detector, which looks by itself")
    config = checked(DetectorConfig, given(arguments, DETECTOR_FLAGS))
    with wrong_usage():
        check_numbers(config)
    return config


def _detector(arguments: Namespace, config: DetectorConfig, options: ExtractOptions) -> Looker:
    import torch

    from captioning.bundle import pick_device
    from captioning.features.detector import build_detector
    from captioning.features.regions import detector_looker

    torch.manual_seed(0)  # with --detector_weights none all shards see through the same network
    detector = build_detector(config).to(pick_device(arguments.device))
    return detector_looker(detector, config, options)


def _check_boxes(arguments: Namespace) -> None:
    """Refuse what does not go with `--boxes`.

    Raises:
        UsageError: another value, flags of the detector, or a folder without annotations.
    """
    if arguments.boxes != "instances":
        raise UsageError(f"boxes: {arguments.boxes!r} received, instances expected")
    for name in given(arguments, DETECTOR_FLAGS):
        raise UsageError(f"--{name}: not with --boxes, whose regions are those of the file")
    if is_plain(arguments.data):
        raise UsageError(f"boxes: {arguments.data} holds no annotations/, so there are no boxes")


def _boxes(
    arguments: Namespace, pictures: list[Picture], options: ExtractOptions
) -> tuple[Looker, dict[str, Any]]:
    """What looks into boxes, and what is to be said of them."""
    from captioning.features.region_boxes import read_instances
    from captioning.features.regions import box_looker

    boxes = read_instances(arguments.data, splits_of(arguments))
    eyes = eyes_of(arguments, fit=FIT)
    whole = arguments.whole_picture is not False
    looker = box_looker(*eyes, pictures, boxes, options, whole)
    without = sum(not len(boxes.boxes.get(one.image_id, ())) for one in pictures)
    if boxes.left_out:
        print(f"note: {boxes.left_out} boxes without area are left out", file=sys.stderr)
    if without:
        message = f"{without} of {len(pictures)} pictures have no box; they are one region each"
        print(f"note: {message}", file=sys.stderr)
    return looker, {"boxes_left_out": boxes.left_out, "pictures_without_boxes": without}


# ------------------------------------------------------------------------------------- areas


def areas_parser() -> ArgumentParser:
    """Flags of `features areas`."""
    flags = new_parser(
        "Write which cells of a grid each region covers, <id>.npy a picture. For other programs: "
        "our captioners compute it from the boxes of a store."
    )
    flags.add_argument("--store", type=str, default="", help="feature store with boxes")
    flags.add_argument("--boxes", type=str, default="", help="or <id>.npy files: boxes in pixels")
    add_sizes(flags)
    flags.add_argument("--grid", type=int, default=12, help="rows and columns")
    flags.add_argument(
        "--share",
        type=str,
        default="cell",
        help="cell: the covered share of each cell; box: the share of the box that lies in it",
    )
    add_writing(flags, "folder to write")
    return flags


def run_areas(arguments: Namespace) -> int:
    """Write the areas of a store, or of a folder of boxes."""
    if bool(arguments.store) == bool(arguments.boxes):
        both = "both" if arguments.store else "neither"
        raise UsageError(f"--store and --boxes: {both} received, one expected")
    check_at_least(arguments, grid=1)
    from captioning.boxes import SHARES
    from captioning.disk import in_bytes
    from captioning.features.areas import boxes_of_folder, boxes_of_store, check_room, write_areas
    from captioning.features.importers import find_arrays
    from captioning.features.store import FeatureStore

    if arguments.boxes and Path(arguments.boxes).resolve() == Path(arguments.output).resolve():
        raise UsageError("output: the folder of --boxes received, another one expected")
    if arguments.share not in SHARES:
        raise UsageError(f"share: {arguments.share!r} received, {' or '.join(SHARES)} expected")
    if arguments.store:
        for name in given(arguments, ("data", "splits", "images")):
            raise UsageError(f"--{name}: not with --store, whose boxes are relative already")
        store = FeatureStore(arguments.store)
        check_room(arguments.output, store.shape[0], arguments.grid)
        boxes, number = boxes_of_store(store), len(store)
    else:
        sizes = sizes_of(arguments, arguments.boxes)
        boxes, number = (
            boxes_of_folder(arguments.boxes, sizes),
            len(sizes or find_arrays(arguments.boxes)),
        )
    how = (arguments.grid, arguments.share, arguments.overwrite)
    result = write_areas(boxes, number, arguments.output, *how, progress=True)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(
            f"{result['output']}: {result['pictures']} pictures, {result['regions']} regions on "
            f"{arguments.grid} x {arguments.grid} cells, {in_bytes(result['bytes'])}"
        )
    return 0
