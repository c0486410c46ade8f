"""`bench latency`: how long captions take, word by word and in groups, with and without a cache."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    UsageError,
    check_at_least,
    check_output,
    new_parser,
    wrong_usage,
)

if TYPE_CHECKING:
    from captioning.bench.latency_models import Inputs
    from captioning.bundle import Captioner

RANDOM = {"group_sizes": "1,2,4,6", "backbone": "resnet50", "image_size": 224}
MOST_THREADS = 1024


def parser() -> ArgumentParser:
    """Flags of `bench latency`."""
    flags = new_parser(
        "Time captions, word by word and in groups, with and without a cache. Without --models: "
        "transformers of COCO's size with random weights, all captions of 16 words."
    )
    add = flags.add_argument
    add("--models", type=str, default="", help="model bundles to measure, e.g. A,B,C")
    note = "(without --models; not given: %s)"
    shown = "words said at once, one model each " + note % RANDOM["group_sizes"]
    add("--group_sizes", type=str, default="", help=shown)
    shown = "CNN that looks at pictures; features: no CNN " + note % RANDOM["backbone"]
    add("--backbone", type=str, default="", help=shown)
    shown = "side of a picture in pixels " + note % RANDOM["image_size"]
    add("--image_size", type=int | None, default=None, help=shown)
    add("--batch_sizes", type=str, default="1,8,32", help="pictures at once")
    add("--beam_sizes", type=str, default="1,3", help="1: greedy search")
    add("--rounds", type=int, default=15, help="times that everything is measured")
    add(
        "--seconds",
        type=float,
        default=60.0,
        help="limit for the rounds of one batch and beam; there are three in any case",
    )
    add("--threads", type=int, default=0, help="of the processor; 0: as PyTorch chooses")
    add("--data", type=str, default="", help="look at pictures of this data set (with --models)")
    add("--split", type=str, default="", help="its split (not given: test)")
    add(
        "--features",
        type=str,
        default="",
        help="feature store of the data set, for models without a CNN",
    )
    add("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    add("--output", type=str, default="", help="JSON file to write")
    add("--plot", type=str, default="", help="picture to write, FILE.png")
    add("--overwrite", action="store_true", help="replace files that exist")
    add("--json", action="store_true", help="print the result as JSON")
    return flags


def run(arguments: Namespace) -> int:
    """Measure, write, print."""
    lists = ("batch_sizes", "beam_sizes")
    sizes = {name: _numbers(name, arguments[name]) for name in lists}
    check_at_least(arguments, threads=0)
    if arguments.threads > MOST_THREADS:
        allowed = f"at most {MOST_THREADS} expected"
        raise UsageError(f"threads: {arguments.threads} received, {allowed}")
    _check_flags(arguments)
    for path in (arguments.output, arguments.plot):
        check_output(path, arguments.overwrite)
    import torch

    from captioning.bench.latency import Plan, check_plan, measure_latency
    from captioning.training.memory import keep_freed_memory

    captioners = _load(arguments) if arguments.models else _make(arguments)
    with wrong_usage():
        plan = Plan(**sizes, rounds=arguments.rounds, seconds=arguments.seconds)
        check_plan(captioners, plan)
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(arguments.threads or threads)
    try:
        record = measure_latency(captioners, plan, _inputs(arguments), _say)
    finally:
        torch.set_num_threads(threads)
    about = {name: arguments[name] for name in ("models", "data", "features")}
    about["split"] = arguments.data and (arguments.split or "test")
    _give({"weights": _weights(arguments), "inputs": about, **record}, arguments)
    return 0


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a list.

    Raises:
        UsageError: it has something else.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not re.fullmatch(r"\d{1,9}", word):
            raise UsageError(f"{name}: {word!r} received, whole numbers like 1,2,4 expected")
    return tuple(map(int, words))


def _check_flags(arguments: Namespace) -> None:
    """Refuse flags that would do nothing, and files that cannot be meant.

    Raises:
        UsageError: the first of them.
    """
    for name, other in (("data", "models"), ("split", "data"), ("features", "data")):
        if arguments[name] and not arguments[other]:
            raise UsageError(f"{name}: {arguments[name]!r} received, but no --{other}")
    for name in RANDOM:
        if arguments.models and arguments[name] not in ("", None):
            why = "it is for models with random weights (without --models)"
            raise UsageError(f"{name}: {arguments[name]!r} received, none expected: {why}")
    if arguments.plot and Path(arguments.plot).suffix.lower() != ".png":
        raise UsageError(f"plot: {arguments.plot!r} received, a name like latency.png expected")
    if arguments.plot and Path(arguments.plot).resolve() == Path(arguments.output).resolve():
        raise UsageError(f"plot: {arguments.plot!r} received, another file than output expected")


def _make(arguments: Namespace) -> dict[str, Captioner]:
    """Models with random weights."""
    from captioning.bench.latency_models import Sizes, random_captioners
    from captioning.bundle import pick_device

    typed = {name: arguments[name] for name in RANDOM if arguments[name] not in ("", None)}
    asked = RANDOM | typed
    groups = _numbers("group_sizes", asked["group_sizes"])
    with wrong_usage():
        sizes = Sizes(backbone=asked["backbone"], image_size=asked["image_size"])
        return random_captioners(groups, sizes, pick_device(arguments.device))


def _load(arguments: Namespace) -> dict[str, Captioner]:
    """Bundles, by the names of their folders; by their paths where two have the same name."""
    from captioning.bundle import Captioner, pick_device

    folders = [folder.strip() for folder in arguments.models.split(",")]
    for place, folder in enumerate(folders):
        if not folder or folder in folders[:place]:
            raise UsageError(f"models: {arguments.models!r} received, different bundles expected")
    with wrong_usage():
        pick_device(arguments.device)
    names = [Path(folder).resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else folders
    loaded = (Captioner.load(folder, arguments.device) for folder in folders)
    return dict(zip(names, loaded, strict=True))


def _inputs(arguments: Namespace) -> Inputs:
    """Pictures of a data set, or random numbers."""
    from captioning.bench.latency_models import split_inputs, synthetic_inputs

    if not arguments.data:
        return synthetic_inputs
    return split_inputs(arguments.data, arguments.split or "test", arguments.features)


def _weights(arguments: Namespace) -> str:
    """What the numbers rest on, in words."""
    if arguments.models:
        return "of the bundles; captions end when they end"
    return "random, the same for every group size; <end> is impossible, all captions have 16 words"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _give(record: dict[str, Any], arguments: Namespace) -> None:
    """Show the result, then write it and its picture: no disk can lose it."""
    from captioning.bench.latency_table import format_table
    from captioning.files import write_atomically
    from captioning.plotting.latency import plot_latency
    from captioning.plotting.style import image_bytes, use_course_style

    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    if arguments.json:
        print(text, end="")
    else:
        print(f"Weights: {record['weights']}.\n\n{format_table(record)}")
    if arguments.output:
        path = Path(arguments.output)
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
    if arguments.plot:
        use_course_style()
        picture = image_bytes(plot_latency(record))[0]
        path = Path(arguments.plot)
        write_atomically(path, lambda temporary: temporary.write_bytes(picture))
