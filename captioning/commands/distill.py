"""`distill`: write down what a teacher says of a split, as captions to learn from."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    UsageError,
    add_generation,
    add_models,
    check_at_least,
    check_output,
    generation_of,
    new_parser,
    wrong_usage,
)


def parser() -> ArgumentParser:
    """Flags of `distill`."""
    flags = new_parser(
        "Write a teacher's captions of a split as a COCO caption file to learn from (train "
        "--train_captions FILE). A run that was stopped goes on with the same command."
    )
    add_models(flags)
    for action in flags._actions:
        if action.dest == "model":
            action.required = False  # `--join` needs none
    flags.add_argument("--data", type=str, default="data/picturebook", help="data-set folder")
    flags.add_argument(
        "--features", type=str, default="", help="feature store (.h5) in place of the pictures"
    )
    flags.add_argument("--split", type=str, default="train", help="split; needs no human captions")
    flags.add_argument("--output", type=str, required=True, help="caption file to write")
    flags.add_argument("--overwrite", action="store_true", help="replace it, and work begun anew")
    flags.add_argument(
        "--part", type=str, default="1/1", help="i/n: every n-th picture from the i-th on"
    )
    flags.add_argument(
        "--join", type=str, nargs="+", default=[], help="no captioning: all n parts, made into one"
    )
    flags.add_argument(
        "--keep_repeated",
        action="store_true",
        help="keep equal captions of a picture, which count once otherwise",
    )
    flags.add_argument("--batch_size", type=int, default=32, help="pictures at once")
    flags.add_argument("--num_workers", type=int, default=0, help="processes that read pictures")
    flags.add_argument("--max_pictures", type=int, default=0, help="first so many; 0 takes all")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="print one JSON object")
    add_generation(flags)
    helps = {
        "num_samples": "captions of a picture (not given: as many as beams; 1 for greedy)",
        "beam_size": "captions kept open at each word (of all groups); with it and no --method, a "
        "model whose own method is greedy or sample uses beam (not given: its own setting)",
    }
    for action in flags._actions:
        action.help = helps.get(action.dest, action.help)
    return flags


def run(arguments: Namespace) -> int:
    """Caption a split, or join its parts, and say what was written."""
    if bool(arguments.join) == bool(arguments.model):
        both = "both" if arguments.model else "neither"
        raise UsageError(f"--model and --join: {both} received, one of the two expected")
    if arguments.join:
        check_join(arguments)
    check_output(arguments.output, arguments.overwrite)
    if not arguments.join:
        return give(write(arguments), arguments)
    from captioning.evaluation.distilled import join_parts

    return give(join_parts(arguments.join, arguments.output, arguments.overwrite), arguments)


def check_join(arguments: Namespace) -> None:
    """Refuse flags that would have decided something if there were anything to caption.

    Raises:
        UsageError: the first of them.
    """
    used = ("join", "output", "overwrite", "json")
    for name, default in parser().get_defaults().items():
        if name not in used and arguments[name] != default:
            raise UsageError(f"--{name}: received, but --join captions nothing")


def write(arguments: Namespace) -> dict[str, Any]:
    """Let the teacher speak; what can be refused is refused before the first picture."""
    part = part_of(arguments.part)
    check_at_least(arguments, batch_size=1, num_workers=0, max_pictures=0)
    from captioning.datasets.ready import ready_data
    from captioning.ensemble import load_captioner, parse_models
    from captioning.evaluation.distill import DistillOptions, distill, distill_config

    models = ([arguments.model], arguments.model_weights)
    with wrong_usage():
        parse_models(*models)
    captioner = load_captioner(*models, arguments.device)
    with wrong_usage():
        config = distill_config(captioner, **generation_of(arguments))
    ready_data(arguments.data)
    same = "features batch_size num_workers max_pictures keep_repeated overwrite".split()
    options = DistillOptions(
        teacher=arguments.model,
        part=part,
        progress=True,
        **{name: arguments[name] for name in same},
    )
    where = (arguments.data, arguments.split, arguments.output)
    return distill(captioner, *where, config, options)


def part_of(text: str) -> tuple[int, int]:
    """2/5 as two numbers.

    Raises:
        UsageError: it is not of this form.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, total = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= total:
        raise UsageError(f"part: {text!r} received, i/n with i from 1 to n expected, e.g. 2/5")
    return number, total


def give(result: dict[str, Any], arguments: Namespace) -> int:
    """Show what was written, and name the pictures that are not in it."""
    for message in result["unreadable"]:
        print(f"left out: {message}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
        return 0
    earlier = f" ({result['resumed']} from an earlier run)" if result.get("resumed") else ""
    numbers = {name: result[name] for name in ("empty", "repeated", "unwritable")}
    numbers["unreadable pictures"] = len(result["unreadable"])
    left_out = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    print(
        f"{result['output']}: {result['pictures']} pictures{earlier}, {result['captions']} "
        f"captions, {result['distinct_per_picture']:.2f} different ones a picture, mean "
        f"log-probability {result['mean_logprob']:.2f}" + (left_out and f"; left out: {left_out}")
    )
    return 0
