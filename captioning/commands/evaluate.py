"""`evaluate`: caption a split and score the captions."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import (
    add_generation,
    check_at_least,
    check_output,
    generation_of,
    give,
    new_parser,
    wrong_usage,
)


def parser() -> ArgumentParser:
    """Flags of `evaluate`."""
    flags = new_parser("Caption a split and score the captions.")
    flags.add_argument("--model", type=str, required=True, help="model bundle")
    flags.add_argument("--data", type=str, default="data/picturebook", help="data-set folder")
    flags.add_argument("--split", type=str, default="test", help="split to caption")
    flags.add_argument("--metrics", type=str, default="", help="e.g. cider,bleu_4,meteor")
    flags.add_argument("--output", type=str, default="", help="write the whole result as JSON")
    flags.add_argument("--batch_size", type=int, default=32, help="pictures at once")
    flags.add_argument("--max_pictures", type=int, default=0, help="first so many; 0 takes all")
    flags.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    flags.add_argument("--json", action="store_true", help="print the whole result as JSON")
    add_generation(flags)
    return flags


def run(arguments: Namespace) -> int:
    """Score a bundle on a split."""
    from captioning.bundle import Captioner
    from captioning.datasets.ready import ready_data
    from captioning.evaluation.evaluate import evaluate
    from captioning.evaluation.metrics import choose_metrics

    metrics = arguments.metrics.split(",") if arguments.metrics else None
    check_at_least(arguments, batch_size=1, max_pictures=0)
    check_output(arguments.output)
    ready_data(arguments.data)
    captioner = Captioner.load(arguments.model, arguments.device)
    with wrong_usage():
        captioner.generation_config(**generation_of(arguments))
        choose_metrics(metrics)
    result = evaluate(
        captioner,
        arguments.data,
        arguments.split,
        metrics,
        arguments.batch_size,
        progress=True,
        max_pictures=arguments.max_pictures,
        **generation_of(arguments),
    )
    give(result, arguments)
    return 0
