"""`features KIND`: stores of picture features: made, imported, put together, looked into."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, add_kinds, check_at_least, checked, new_parser
from captioning.config import EncoderConfig, TransformConfig

if TYPE_CHECKING:
    from torch import nn

    from captioning.features.pictures import Picture
    from captioning.features.writer import WriteOptions

ENCODER_FLAGS = ("weights", "cut", "grid", "padding")  # beside --encoder, which is the backbone
TRANSFORM_FLAGS = ("fit", "image_size", "resize_size")


def parser() -> ArgumentParser:
    """Flags of `features`."""
    flags = new_parser("Compute, import and merge stores of picture features.")
    add_kinds(flags, "features", {name: make() for name, (make, _) in KINDS.items()})
    return flags


def run(arguments: Namespace) -> int:
    """Do what the kind says."""
    return KINDS[arguments.kind][1](arguments[arguments.kind])


def _add_writing(flags: ArgumentParser) -> None:
    flags.add_argument("--output", type=str, required=True, help="store to write, e.g. F.h5")
    flags.add_argument("--overwrite", action="store_true", help="replace an existing output")
    flags.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_data(flags: ArgumentParser, default: str, text: str) -> None:
    flags.add_argument("--data", type=str, default=default, help=text)
    flags.add_argument("--splits", type=str, default="", help="e.g. train,val; empty takes all")


def _add_dtype(flags: ArgumentParser) -> None:
    flags.add_argument("--dtype", type=str, default="float16", help="float16 or float32")


def _write_options(arguments: Namespace) -> WriteOptions:
    from captioning.features.writer import WriteOptions

    if arguments.dtype not in ("float16", "float32"):
        raise UsageError(f"dtype: {arguments.dtype!r} received, float16 or float32 expected")
    return WriteOptions(arguments.dtype == "float16", arguments.overwrite, progress=True)


def _splits(arguments: Namespace) -> list[str]:
    """The splits that were named, or all of the data set."""
    from captioning.features.pictures import list_splits

    named = [name.strip() for name in arguments.splits.split(",") if name.strip()]
    return named or list_splits(arguments.data)


def _give(result: dict[str, Any], arguments: Namespace) -> int:
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


# ------------------------------------------------------------------------------------ extract


def _extract_parser() -> ArgumentParser:
    flags = new_parser("Look at pictures with a CNN, or a bundle's encoder, and keep what it sees.")
    _add_data(flags, "data/picturebook", "data-set folder, or any folder of pictures")
    flags.add_argument("--model", type=str, default="", help="take the encoder of this bundle")
    flags.add_argument("--encoder", type=str, default="", help="network, e.g. resnet101")
    for config, names in (EncoderConfig, ENCODER_FLAGS), (TransformConfig, TRANSFORM_FLAGS):
        for one in fields(config):
            if one.name in names:
                _add_setting(flags, one)
    flags.add_argument(
        "--max_side", type=int, default=1024, help="with fit native: longest side; 0: any"
    )
    flags.add_argument("--batch_size", type=int, default=16, help="pictures at once")
    flags.add_argument("--num_workers", type=int, default=0, help="processes that read pictures")
    flags.add_argument("--precision", type=str, default="fp32", help="fp32 or bf16")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--shard", type=str, default="1/1", help="i/n: the i-th of n parts")
    _add_dtype(flags)
    _add_writing(flags)
    return flags


def _add_setting(flags: ArgumentParser, one: Field) -> None:
    """A flag of a setting that is empty when it is not given."""
    text = f"{one.metadata['help']} (default: {one.default!r})".replace("%", "%%")
    if isinstance(one.default, str):
        flags.add_argument(f"--{one.name}", type=str, default="", help=text)
    else:
        flags.add_argument(f"--{one.name}", type=type(one.default) | None, help=text)


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, total = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= total:
        raise UsageError(f"shard: {text!r} received, i/n with i from 1 to n expected, e.g. 2/4")
    return number, total


def _given(arguments: Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of these flags that were given."""
    return {name: arguments[name] for name in names if arguments[name] not in ("", None)}


def _eyes(arguments: Namespace) -> tuple[nn.Module, EncoderConfig, TransformConfig]:
    """The encoder that the flags ask for, with its settings."""
    if bool(arguments.model) == bool(arguments.encoder):
        both = "both" if arguments.model else "neither"
        raise UsageError(f"--model and --encoder: {both} received, one expected")
    given = _given(arguments, ENCODER_FLAGS), _given(arguments, TRANSFORM_FLAGS)
    if arguments.model:
        for name in (*given[0], *given[1]):
            raise UsageError(f"--{name}: not with --model, whose settings are known")
        from captioning.bundle import Captioner

        captioner = Captioner.load(arguments.model, arguments.device)
        config, transform = captioner.experiment.encoder, captioner.experiment.transform
        if config.backbone == "features":
            raise ValueError(f"{arguments.model}: has no encoder, it learned from features")
        return captioner.encoder, config, transform
    config = checked(EncoderConfig, {"backbone": arguments.encoder, **given[0]})
    transform = checked(TransformConfig, given[1])
    if config.backbone == "features":
        raise UsageError("encoder: 'features' received, a network expected")
    import torch

    from captioning.bundle import pick_device
    from captioning.encoders.cnn import build_encoder

    torch.manual_seed(0)  # with --weights none all shards see through the same network
    return build_encoder(config).to(pick_device(arguments.device)), config, transform


def _pictures(arguments: Namespace) -> list[Picture]:
    """The pictures of a data set, or of a plain folder."""
    from captioning.datasets.ready import ready_data
    from captioning.features.pictures import list_data, number_files
    from captioning.picture_files import find_pictures

    folder = Path(arguments.data)
    if folder.is_dir() and not (folder / "annotations").is_dir():
        if arguments.splits:
            raise UsageError(f"splits: {folder} holds no annotations/, so there are none")
        return number_files(folder, find_pictures([folder]))
    ready_data(folder)
    return list_data(folder, _splits(arguments))


def run_extract(arguments: Namespace) -> int:
    """Compute a store, or a shard of it."""
    shard = _shard(arguments.shard)
    check_at_least(arguments, batch_size=1, num_workers=0, max_side=0)
    if arguments.precision not in ("fp32", "bf16"):
        raise UsageError(f"precision: {arguments.precision!r} received, fp32 or bf16 expected")
    from captioning.features.extract import ExtractOptions, extract, shard_path
    from captioning.files import check_free

    check_free(shard_path(arguments.output, shard), arguments.overwrite)
    options = ExtractOptions(
        arguments.batch_size,
        arguments.num_workers,
        arguments.precision,
        arguments.max_side,
        shard,
        _write_options(arguments),
    )
    pictures = _pictures(arguments)
    return _give(extract(pictures, *_eyes(arguments), arguments.output, options), arguments)


# ------------------------------------------------------------------------------------- import


def _import_parser() -> ArgumentParser:
    flags = new_parser("Take over features that others computed (.npy, .npz, bottom-up TSV).")
    flags.add_argument("--att", type=str, default="", help="folder of <id>.npz: regions or grids")
    flags.add_argument("--fc", type=str, default="", help="folder of <id>.npy: a vector each")
    flags.add_argument("--box", type=str, default="", help="folder of <id>.npy: boxes in pixels")
    flags.add_argument("--tsv", type=str, nargs="+", default=[], help="bottom-up TSV files")
    _add_data(flags, "", "data-set folder: import its pictures only, with the sizes noted there")
    flags.add_argument("--source", type=str, default="", help="a name that tells features apart")
    _add_dtype(flags)
    _add_writing(flags)
    return flags


def run_import(arguments: Namespace) -> int:
    """Write a store from other files."""
    folders = _given(arguments, ("att", "fc", "box"))
    if bool(folders) == bool(arguments.tsv):
        both = "both" if folders else "neither"
        raise UsageError(f"--att or --fc, and --tsv: {both} received, one of the two expected")
    if set(folders) == {"box"} or set(folders) == {"box", "fc"}:
        raise UsageError("--box: boxes are those of --att, which is missing")
    from captioning.datasets.ready import ready_data
    from captioning.features.importers import import_arrays, import_tsv
    from captioning.features.pictures import read_sizes

    sizes = None
    if arguments.data:
        sizes = read_sizes(ready_data(arguments.data), _splits(arguments))
    write = _write_options(arguments)
    named = {"source": arguments.source} if arguments.source else {}
    if arguments.tsv:
        files = arguments.tsv
        result = import_tsv(arguments.output, files, image_ids=sizes, write=write, **named)
    else:
        result = import_arrays(arguments.output, sizes=sizes, write=write, **folders, **named)
    return _give(result, arguments)


# ---------------------------------------------------------------------------------- merge, info


def _merge_parser() -> ArgumentParser:
    flags = new_parser("Put the shards of an extraction, or stores of different splits, into one.")
    flags.add_argument("stores", type=str, nargs="+", help="stores, e.g. F.*-of-4.h5")
    _add_writing(flags)
    return flags


def run_merge(arguments: Namespace) -> int:
    """Write one store from several."""
    from captioning.features.merge import merge_stores

    result = merge_stores(arguments.stores, arguments.output, arguments.overwrite, progress=True)
    return _give(result, arguments)


def _info_parser() -> ArgumentParser:
    flags = new_parser("Show what a store holds and what made it.")
    flags.add_argument("store", type=str, help="the .h5 file")
    flags.add_argument("--json", action="store_true", help="print one JSON object")
    return flags


def run_info(arguments: Namespace) -> int:
    """Print what a store holds."""
    from captioning.features.store import FeatureStore

    facts = FeatureStore(arguments.store).describe()
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            text = json.dumps(value) if isinstance(value, dict | list) else value
            print(f"{name:<{width}}  {text}")
    return 0


KINDS = {
    "extract": (_extract_parser, run_extract),
    "import": (_import_parser, run_import),
    "merge": (_merge_parser, run_merge),
    "info": (_info_parser, run_info),
}
