"""`report`: a web page of results."""

from __future__ import annotations

import json
import sys

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import check_at_least, new_parser, wrong_usage

NAMED = 5  # missing pictures that are named; the others are counted


def parser() -> ArgumentParser:
    """Flags of `report`."""
    flags = new_parser("Write a web page of one result, or of two side by side. No server needed.")
    flags.add_argument("runs", type=str, nargs="+", help="one or two results, or captions as JSON")
    flags.add_argument("--output", type=str, required=True, help="folder of the page")
    flags.add_argument("--data", type=str, default="", help="data-set folder, if not the result's")
    flags.add_argument("--split", type=str, default="", help="its split, if not the result's")
    flags.add_argument("--names", type=str, default="", help="what to call them, e.g. before,after")
    flags.add_argument(
        "--thumbnail_size", type=int, default=480, help="longest side of a picture, in pixels"
    )
    flags.add_argument("--workers", type=int, default=0, help="processes; 0: one for each core")
    flags.add_argument("--overwrite", action="store_true", help="replace a report")
    flags.add_argument("--json", action="store_true", help="print what was written as JSON")
    return flags


def run(arguments: Namespace) -> int:
    """Write the page; pictures that cannot be read are named and cost nothing else."""
    from captioning.evaluation.report.folder import check_folder
    from captioning.evaluation.report.page import write_report
    from captioning.evaluation.report.pictures import find_data, pair_pictures
    from captioning.evaluation.report.runs import check_names, read_runs

    names = [name.strip() for name in arguments.names.split(",")] if arguments.names else []
    check_at_least(arguments, thumbnail_size=16, workers=0)
    with wrong_usage():
        check_names(arguments.runs, names)
    check_folder(arguments.output, arguments.overwrite)
    runs = read_runs(arguments.runs, names)
    known, note = find_data(runs, arguments.data, arguments.split)
    if note:
        print(f"note: {note}", file=sys.stderr)
    pictures = pair_pictures(runs, known)
    shown = write_report(
        arguments.output,
        runs,
        pictures,
        arguments.thumbnail_size,
        arguments.workers,
        arguments.overwrite,
        progress=True,
    )
    _tell_missing(shown["missing"], shown["pictures"])
    print(json.dumps(shown, ensure_ascii=False) if arguments.json else shown["page"])
    return 0


def _tell_missing(missing: dict[str, str], count: int) -> None:
    for file, reason in list(missing.items())[:NAMED]:
        print(f"note: {reason}" if file in reason else f"note: {file}: {reason}", file=sys.stderr)
    if missing:
        print(f"note: {len(missing)} of {count} pictures are not shown", file=sys.stderr)
