"""`features clip` and `features clip-weights`: one CLIP vector a picture, and CLIP's weights."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.features_flags import (
    add_data,
    add_looking,
    add_writing,
    give,
    looking_of,
    pictures_of,
)
from captioning.commands.flags import UsageError, new_parser
from captioning.config_rewards import CLIP_NAMES


def clip_parser() -> ArgumentParser:
    """Flags of `features clip`."""
    flags = new_parser("Keep the vector that CLIP makes of each picture, for scores and rewards.")
    flags.add_argument(
        "--clip",
        type=str,
        required=True,
        help=f"CLIP that looks: {CLIP_NAMES}",
    )
    add_data(flags, "data/picturebook", "data-set folder, or any folder of pictures")
    add_looking(flags, dtype="float32")
    add_writing(flags)
    return flags


def run_clip(arguments: Namespace) -> int:
    """Compute a store of vectors, or a shard of it."""
    if arguments.precision != "fp32":
        raise UsageError(
            f"precision: {arguments.precision!r} received, fp32 expected: scores are made of these "
            "vectors"
        )
    if arguments.dtype != "float32":
        raise UsageError(f"dtype: {arguments.dtype!r} received, float32 expected, for the same")
    options = looking_of(arguments)
    from captioning.bundle import pick_device
    from captioning.clip.loading import load_clip
    from captioning.features.extract import extract_with
    from captioning.features.vectors import vector_looker

    clip = load_clip(arguments.clip, str(pick_device(arguments.device)))
    pictures = pictures_of(arguments)
    return give(extract_with(vector_looker(clip), pictures, arguments.output, options), arguments)


def weights_parser() -> ArgumentParser:
    """Flags of `features clip-weights`."""
    flags = new_parser("Download the weights of a CLIP of open_clip; nothing else downloads them.")
    flags.add_argument("clip", type=str, help="MODEL:TAG, e.g. ViT-B-32:openai")
    return flags


def run_weights(arguments: Namespace) -> int:
    """Download, and say where the file is."""
    from captioning.clip.names import download_weights, parse_name

    name = parse_name(arguments.clip)
    if name.is_folder:
        raise UsageError(f"clip: {arguments.clip!r} received, a folder has its weights in it")
    print(download_weights(name))
    return 0
