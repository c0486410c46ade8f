"""`score`: compare a caption file with references."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import check_output, give, new_parser


def parser() -> ArgumentParser:
    """Flags of `score`."""
    flags = new_parser("Score a caption file against reference captions.")
    flags.add_argument("--references", type=str, required=True, help="COCO caption annotations")
    flags.add_argument("--candidates", type=str, required=True, help="COCO results file")
    flags.add_argument("--metrics", type=str, default="", help="e.g. cider,bleu_4,meteor")
    flags.add_argument(
        "--document_frequency", type=str, default="corpus", help="corpus, a table or a bundle"
    )
    flags.add_argument("--tokenizer", type=str, default="ptb", help="ptb, or none (tokenised)")
    flags.add_argument("--output", type=str, default="", help="write the whole result as JSON")
    flags.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return flags


def run(arguments: Namespace) -> int:
    """Score two files."""
    from captioning.evaluation.score_command import score_files

    check_output(arguments.output)
    metrics = arguments.metrics.split(",") if arguments.metrics else None
    files = (Path(arguments.references), Path(arguments.candidates))
    table, tokenizer = arguments.document_frequency, arguments.tokenizer
    give(score_files(*files, metrics, table, tokenizer), arguments)
    return 0
