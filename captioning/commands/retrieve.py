"""`retrieve`: are pictures found by their captions, and captions by their pictures?"""

from __future__ import annotations

import json
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    UsageError,
    add_generation,
    check_output,
    generation_of,
    new_parser,
    wrong_usage,
)
from captioning.config_rewards import CLIP_NAMES

SOURCES = ("model", "results", "references")


def parser() -> ArgumentParser:
    """Flags of `retrieve`."""
    flags = new_parser("Find pictures by captions and captions by pictures, as CLIP sees them.")
    flags.add_argument(
        "--clip",
        type=str,
        required=True,
        help=f"CLIP that compares: {CLIP_NAMES}",
    )
    flags.add_argument("--data", type=str, default="data/picturebook", help="data-set folder")
    flags.add_argument("--split", type=str, default="test", help="which split")
    flags.add_argument("--model", type=str, default="", help="bundle that writes the captions")
    flags.add_argument(
        "--checkpoint",
        type=str,
        default="best",
        help="best: the bundle's weights; last: those of its checkpoint/, where it has one",
    )
    flags.add_argument("--results", type=str, default="", help="COCO results file with captions")
    flags.add_argument(
        "--references", action="store_true", help="the first human caption of each picture"
    )
    for name, meaning in (
        ("features", "feature store that the model sees in place of pictures"),
        ("clip_vectors", "store of CLIP's picture vectors (`features clip`)"),
        ("output", "write the whole result as JSON"),
    ):
        flags.add_argument(f"--{name}", type=str, default="", help=meaning)
    flags.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="print the whole result as JSON")
    add_generation(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Rank, and print recall and ranks both ways."""
    given = [name for name in SOURCES if arguments[name]]
    if len(given) != 1:
        names = ", ".join(f"--{name}" for name in given) or "none"
        raise UsageError(f"--model, --results, --references: {names} received, one expected")
    if arguments.checkpoint not in ("best", "last"):
        raise UsageError(f"checkpoint: {arguments.checkpoint!r} received, best or last expected")
    check_output(arguments.output, arguments.overwrite)
    from captioning.datasets.ready import ready_data

    ready_data(arguments.data)
    from captioning.bundle import pick_device
    from captioning.clip.loading import load_clip
    from captioning.evaluation.retrieve_command import retrieve

    judge = load_clip(arguments.clip, str(pick_device(arguments.device)))  # before any captioning
    captions = _captions(arguments)
    store = arguments.clip_vectors
    result = retrieve(judge, arguments.data, arguments.split, captions, store)
    result["settings"] |= {name: arguments[name] for name in given}
    if given == ["model"]:
        result["settings"] |= {"checkpoint": arguments.checkpoint}
    _give(result, arguments)
    return 0


def _captions(arguments: Namespace) -> dict[Any, str]:
    """Picture id to the caption that it is searched by."""
    from captioning.evaluation.retrieve_command import (
        captions_of_file,
        captions_of_model,
        first_references,
    )

    if arguments.references:
        return first_references(arguments.data, arguments.split)
    if arguments.results:
        return captions_of_file(arguments.results, arguments.data, arguments.split)
    search = generation_of(arguments)
    from captioning.training.last_weights import load_weights_of

    captioner = load_weights_of(arguments.model, arguments.checkpoint, arguments.device)
    with wrong_usage():
        captioner.generation_config(**search)
    return captions_of_model(
        captioner, arguments.data, arguments.split, arguments.features, **search
    )


def _give(result: dict[str, Any], arguments: Namespace) -> None:
    """Write and show a result."""
    from pathlib import Path

    from captioning.evaluation.retrieval import format_retrieval
    from captioning.files import write_atomically

    text = json.dumps(result, ensure_ascii=False)
    if arguments.output:
        path = Path(arguments.output)
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
    if arguments.json:
        print(text)
        return
    print(format_retrieval(result["overall"]))
    settings = result["settings"]
    print(f"{settings['num_images']} pictures and captions of split {settings['split']}")
