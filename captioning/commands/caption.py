"""`caption`: describe pictures of one's own."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    UsageError,
    add_generation,
    add_models,
    check_at_least,
    generation_of,
    new_parser,
    wrong_usage,
)

if TYPE_CHECKING:
    from captioning.bundle import Captioner


def parser() -> ArgumentParser:
    """Flags of `caption`."""
    flags = new_parser(
        "Caption pictures: files, folders, globs, or the features of a store. Needs no data set."
    )
    add_models(flags)
    flags.add_argument("paths", type=str, nargs="*", default=[], help="pictures, folders or globs")
    flags.add_argument(
        "--features",
        type=str,
        default="",
        help="or the pictures of a feature store (.h5), e.g. one of `features regions`",
    )
    flags.add_argument("--batch_size", type=int, default=8, help="pictures at once")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="one JSON object a line")
    add_generation(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Print a line for each caption; an unreadable file costs the exit code, not the rest."""
    if bool(arguments.paths) == bool(arguments.features):
        both = "both" if arguments.features else "neither"
        raise UsageError(f"paths and --features: {both} received, one of the two expected")
    from captioning.ensemble import load_captioner, parse_models
    from data_loader import UnreadableImageError

    check_at_least(arguments, batch_size=1)
    models = ([arguments.model], arguments.model_weights)
    with wrong_usage():
        parse_models(*models)
    captioner = load_captioner(*models, arguments.device)
    failed = False
    overrides = generation_of(arguments)
    with wrong_usage():
        captioner.generation_config(**overrides)
    for path, outcome in _outcomes(captioner, arguments, overrides):
        if isinstance(outcome, UnreadableImageError):
            failed = True
            print(f"error: {outcome}", file=sys.stderr)
            continue
        for caption in outcome:
            if caption.score == -math.inf:  # there are not as many captions as were asked for
                continue
            row = {"file": str(path), "caption": caption.text, "logprob": round(caption.logprob, 4)}
            line = (
                json.dumps(row, ensure_ascii=False)
                if arguments.json
                else f"{path}: {row['caption']}"
            )
            print(line, flush=True)
    return int(failed)


def _outcomes(
    captioner: Captioner, arguments: Namespace, overrides: dict[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """Name and captions (or error) of each picture that was meant."""
    from captioning.picture_files import (
        caption_files,
        caption_store,
        find_pictures,
        open_for_captions,
    )

    if arguments.features:
        store = open_for_captions(captioner, arguments.features)
        return caption_store(captioner, store, arguments.batch_size, **overrides)
    paths = find_pictures(arguments.paths)
    return caption_files(captioner, paths, arguments.batch_size, **overrides)
