"""`score`: compare a caption file with references."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, check_output, give, new_parser, wrong_usage


def parser() -> ArgumentParser:
    """Flags of `score`."""
    flags = new_parser("Score a caption file against reference captions, or FineCapEval's table.")
    flags.add_argument("--references", type=str, default="", help="COCO caption annotations")
    flags.add_argument(
        "--finecapeval", type=str, default="", help="FineCapEval's CSV file in place of references"
    )
    flags.add_argument(
        "--candidates",
        type=str,
        required=True,
        help='COCO results file; for --finecapeval also {"image name": "caption"}',
    )
    flags.add_argument("--metrics", type=str, default="", help="e.g. cider,bleu_4,meteor")
    flags.add_argument(
        "--document_frequency", type=str, default="corpus", help="corpus, a table or a bundle"
    )
    flags.add_argument("--tokenizer", type=str, default="ptb", help="ptb, or none (tokenised)")
    flags.add_argument("--output", type=str, default="", help="write the whole result as JSON")
    flags.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    flags.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return flags


def run(arguments: Namespace) -> int:
    """Score two files."""
    if bool(arguments.references) == bool(arguments.finecapeval):
        both = "both" if arguments.references else "neither"
        raise UsageError(f"--references and --finecapeval: {both} received, one expected")
    if arguments.finecapeval:
        return run_finecapeval(arguments)
    from captioning.evaluation.metrics import TOKENIZERS, choose_metrics
    from captioning.evaluation.ngrams import DocumentFrequency
    from captioning.evaluation.score_command import CORPUS, score_files

    metrics = arguments.metrics.split(",") if arguments.metrics else None
    table, tokenizer = arguments.document_frequency, arguments.tokenizer
    with wrong_usage():  # whether there is a table is all that matters here; it is read below
        choose_metrics(metrics, None if table == CORPUS else DocumentFrequency({}, 1))
    if tokenizer not in TOKENIZERS:
        raise UsageError(f"tokenizer: {tokenizer!r} received, one of {list(TOKENIZERS)} expected")
    check_output(arguments.output, arguments.overwrite)
    files = (Path(arguments.references), Path(arguments.candidates))
    give(score_files(*files, metrics, table, tokenizer), arguments)
    return 0


def run_finecapeval(arguments: Namespace) -> int:
    """Score captions by FineCapEval's phrases."""
    defaults = {"metrics": "", "document_frequency": "corpus", "tokenizer": "ptb"}
    for name, usual in defaults.items():
        if arguments[name] != usual:
            raise UsageError(f"--{name}: not with --finecapeval, whose scores are fixed")
    check_output(arguments.output, arguments.overwrite)
    from captioning.evaluation.score_command import score_finecapeval_files

    give(score_finecapeval_files(arguments.finecapeval, arguments.candidates), arguments)
    return 0
