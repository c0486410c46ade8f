"""`caption`: describe pictures of one's own."""

from __future__ import annotations

import json
import math
import sys

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    add_generation,
    add_models,
    check_at_least,
    generation_of,
    new_parser,
    wrong_usage,
)


def parser() -> ArgumentParser:
    """Flags of `caption`."""
    flags = new_parser("Caption pictures: files, folders, globs. Needs no data set.")
    add_models(flags)
    flags.add_argument("paths", type=str, nargs="+", help="pictures, folders or globs")
    flags.add_argument("--batch_size", type=int, default=8, help="pictures at once")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="one JSON object a line")
    add_generation(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Print a line for each caption; an unreadable file costs the exit code, not the rest."""
    from captioning.ensemble import load_captioner, parse_models
    from captioning.picture_files import caption_files, find_pictures
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
    paths = find_pictures(arguments.paths)
    for path, outcome in caption_files(captioner, paths, arguments.batch_size, **overrides):
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
