"""What the kinds of `features` share: which pictures, through which eyes, and where to."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, check_at_least, checked
from captioning.config import EncoderConfig, TransformConfig

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

    from torch import nn

    from captioning.features.extract import ExtractOptions
    from captioning.features.pictures import Picture
    from captioning.features.writer import WriteOptions

ENCODER_FLAGS = ("clip_model", "weights", "cut", "grid", "padding")  # --encoder: the backbone
TRANSFORM_FLAGS = ("fit", "image_size", "resize_size", "interpolation")
UNUSED_WITH_NATIVE = ("image_size", "resize_size", "interpolation")
MAX_SIDE = 1024


# ------------------------------------------------------------------------------ in and out


def add_data(flags: ArgumentParser, default: str, text: str) -> None:
    """Which pictures."""
    flags.add_argument("--data", type=str, default=default, help=text)
    flags.add_argument("--splits", type=str, default="", help="e.g. train,val; empty takes all")


def add_sizes(flags: ArgumentParser) -> None:
    """Where the sizes of pictures are to be found, which boxes in pixels need."""
    add_data(flags, "", "data-set folder: take its pictures only, with the sizes noted there")
    flags.add_argument(
        "--images",
        type=str,
        default="",
        help="folder of the pictures: sizes that are not noted are read from their files (with "
        "--data by name, else names end with the id)",
    )


def sizes_of(arguments: Namespace, arrays: str) -> dict[int, tuple[int, int]] | None:
    """Which pictures are meant, and their sizes; None: all of the folder `arrays`, without sizes.

    Raises:
        FileNotFoundError, ValueError: a picture is missing, or no picture.
    """
    from captioning.features.importers import find_arrays
    from captioning.features.picture_sizes import find_numbered, read_file_sizes

    images = arguments.images
    if not arguments.data:
        if not images:
            return None
        return read_file_sizes(find_numbered(images, find_arrays(arrays)), progress=True)
    from captioning.datasets.ready import ready_data
    from captioning.features.pictures import list_data, read_sizes

    data, splits = ready_data(arguments.data), splits_of(arguments)
    sizes = read_sizes(data, splits)
    if images:
        files = {one.image_id: Path(images) / one.name for one in list_data(data, splits)}
        unknown = {i: files[i] for i, size in sizes.items() if min(size) < 1}
        sizes |= read_file_sizes(unknown, progress=True)
    return sizes


def add_dtype(flags: ArgumentParser | _ArgumentGroup, dtype: str = "float16") -> None:
    flags.add_argument("--dtype", type=str, default=dtype, help="float16 or float32")


def add_writing(flags: ArgumentParser, what: str = "store to write, e.g. F.h5") -> None:
    """Where to, and how it is told."""
    flags.add_argument("--output", type=str, required=True, help=what)
    flags.add_argument("--overwrite", action="store_true", help="replace an existing output")
    flags.add_argument("--json", action="store_true", help="print the result as JSON")


def write_options(arguments: Namespace) -> WriteOptions:
    """How a store is written.

    Raises:
        UsageError: no such type of numbers.
    """
    from captioning.features.writer import WriteOptions

    if arguments.dtype not in ("float16", "float32"):
        raise UsageError(f"dtype: {arguments.dtype!r} received, float16 or float32 expected")
    return WriteOptions(arguments.dtype == "float16", arguments.overwrite, progress=True)


def splits_of(arguments: Namespace) -> list[str]:
    """The splits that were named, or all of the data set."""
    from captioning.features.pictures import list_splits

    named = [name.strip() for name in arguments.splits.split(",") if name.strip()]
    return named or list_splits(arguments.data)


def is_plain(folder: str | Path) -> bool:
    """Whether it is a folder of pictures only, no data set."""
    return Path(folder).is_dir() and not (Path(folder) / "annotations").is_dir()


def pictures_of(arguments: Namespace) -> list[Picture]:
    """The pictures of a data set, or of a plain folder."""
    from captioning.datasets.ready import ready_data
    from captioning.features.pictures import list_data, number_files
    from captioning.picture_files import find_pictures

    folder = Path(arguments.data)
    if is_plain(folder):
        if arguments.splits:
            raise UsageError(f"splits: {folder} holds no annotations/, so there are none")
        return number_files(folder, find_pictures([folder]))
    ready_data(folder)
    return list_data(folder, splits_of(arguments))


def give(result: Mapping[str, Any], arguments: Namespace) -> int:
    """Show what was written."""
    from captioning.disk import in_bytes

    for message in result.get("unreadable", []):
        print(f"left out: {message}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
        return 0
    earlier = f" ({result['resumed']} from an earlier run)" if result.get("resumed") else ""
    again = f", {result['duplicates']} repeated lines" if result.get("duplicates") else ""
    print(
        f"{result['output']}: {result['pictures']} pictures{earlier}, {result['regions']} regions "
        f"of {result['feature_dim']} numbers, {in_bytes(result['bytes'])}{again}"
    )
    return 0


# ------------------------------------------------------------------------------------- eyes


def add_eyes(
    flags: ArgumentParser | _ArgumentGroup,
    names: tuple[str, ...] = (*ENCODER_FLAGS, *TRANSFORM_FLAGS),
    fit_text: str = "",
    **other: Any,
) -> None:
    """An encoder, with these settings.

    Args:
        flags (ArgumentParser): the command's, or a group of them.
        names (tuple[str, ...]): settings of the encoder and of what it is shown.
        fit_text (str): help of --fit; empty: that of its setting.
        other: defaults that differ.
    """
    flags.add_argument("--model", type=str, default="", help="take the encoder of this bundle")
    flags.add_argument("--encoder", type=str, default="", help="network, e.g. resnet101")
    for one in (*fields(EncoderConfig), *fields(TransformConfig)):
        if one.name in names:
            text = one.metadata["help"].replace("encoder.grid", "--grid")  # no prefix here
            text = fit_text if fit_text and one.name == "fit" else text
            text += " (not with fit native)" if one.name in UNUSED_WITH_NATIVE else ""
            add_setting(flags, one, other.get(one.name, one.default), text)
    text = f"with fit native: longest side; 0: any (default: {MAX_SIDE})"
    flags.add_argument("--max_side", type=int | None, help=text)


def add_setting(
    flags: ArgumentParser | _ArgumentGroup, one: Field, default: Any, text: str = ""
) -> None:
    """A flag of a setting that is empty when it is not given; `text`: in place of its help."""
    text = f"{text or one.metadata['help']} (default: {default!r})".replace("%", "%%")
    if isinstance(default, str):
        flags.add_argument(f"--{one.name}", type=str, default="", help=text)
    else:
        flags.add_argument(f"--{one.name}", type=type(default) | None, help=text)


def given(arguments: Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of these flags that the command has and that were given."""
    values = {name: arguments.get(name) for name in names}
    return {name: value for name, value in values.items() if value not in ("", None)}


def eyes_of(arguments: Namespace, **other: Any) -> tuple[nn.Module, EncoderConfig, TransformConfig]:
    """The encoder that the flags ask for, with its settings; `other` as for `add_eyes`."""
    if bool(arguments.model) == bool(arguments.encoder):
        both = "both" if arguments.model else "neither"
        raise UsageError(f"--model and --encoder: {both} received, one expected")
    settings = given(arguments, ENCODER_FLAGS), given(arguments, TRANSFORM_FLAGS)
    if arguments.model:
        for name in (*settings[0], *settings[1]):
            raise UsageError(f"--{name}: not with --model, whose settings are known")
        from captioning.bundle import Captioner

        captioner = Captioner.load(arguments.model, arguments.device)
        config, transform = captioner.experiment.encoder, captioner.experiment.transform
        if config.backbone == "features":
            raise ValueError(f"{arguments.model}: has no encoder, it learned from features")
        return captioner.encoder, config, transform
    config = checked(EncoderConfig, {"backbone": arguments.encoder, **settings[0]})
    transform = checked(TransformConfig, other | settings[1])
    _check_unused(arguments, transform.fit)
    if config.backbone == "features":
        raise UsageError("encoder: 'features' received, a network expected")
    import torch

    from captioning.bundle import pick_device
    from captioning.encoders.cnn import build_encoder

    torch.manual_seed(0)  # with --weights none all shards see through the same network
    return build_encoder(config).to(pick_device(arguments.device)), config, transform


def _check_unused(arguments: Namespace, fit: str) -> None:
    """Refuse flags that would change nothing.

    Raises:
        UsageError: the first of them.
    """
    for name in given(arguments, UNUSED_WITH_NATIVE if fit == "native" else ("max_side",)):
        raise UsageError(
            f"--{name}: not with fit {fit!r}, where it changes nothing; --fit names another one"
        )


# ---------------------------------------------------------------------------------- looking


def add_looking(flags: ArgumentParser | _ArgumentGroup, dtype: str = "float16") -> None:
    """How pictures are looked at."""
    text = "pictures at once; detectors and fit native look at one at a time"
    flags.add_argument("--batch_size", type=int, default=16, help=text)
    flags.add_argument("--num_workers", type=int, default=0, help="processes that read pictures")
    flags.add_argument("--precision", type=str, default="fp32", help="fp32 or bf16")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--shard", type=str, default="1/1", help="i/n: the i-th of n parts")
    add_dtype(flags, dtype)


def looking_of(arguments: Namespace) -> ExtractOptions:
    """How pictures are looked at, and an output that is free.

    Raises:
        UsageError: a flag is out of range.
        FileExistsError: the output is there already.
    """
    shard = _shard(arguments.shard)
    max_side = MAX_SIDE if arguments.get("max_side") is None else arguments.max_side
    check_at_least(arguments, batch_size=1, num_workers=0)
    if max_side < 0:
        raise UsageError(f"max_side: {max_side} received, 0 or more expected")
    if arguments.precision not in ("fp32", "bf16"):
        raise UsageError(f"precision: {arguments.precision!r} received, fp32 or bf16 expected")
    from captioning.features.extract import ExtractOptions, shard_path
    from captioning.files import check_free

    check_free(shard_path(arguments.output, shard), arguments.overwrite)
    return ExtractOptions(
        arguments.batch_size,
        arguments.num_workers,
        arguments.precision,
        max_side,
        shard,
        write_options(arguments),
    )


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, total = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= total:
        raise UsageError(f"shard: {text!r} received, i/n with i from 1 to n expected, e.g. 2/4")
    return number, total
