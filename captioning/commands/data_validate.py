"""`data validate`: what in a data set would stop a run, and what deserves a look."""

from __future__ import annotations

import json
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import check_at_least, new_parser
from captioning.config import VocabularyConfig


def parser() -> ArgumentParser:
    """Flags of `data validate`."""
    usual = VocabularyConfig()
    flags = new_parser("Check a data set: pictures, captions, ids, splits.")
    flags.add_argument("data", type=str, help="data-set folder")
    flags.add_argument(
        "--fast", action="store_true", help="see whether the pictures are there, do not open them"
    )
    flags.add_argument("--workers", type=int, default=0, help="processes; 0: one for each core")
    for name, text in (
        ("min_count", "vocabulary.min_count of the training to come"),
        ("max_length", "vocabulary.max_length of the training to come"),
    ):
        flags.add_argument(f"--{name}", type=int, default=getattr(usual, name), help=text)
    flags.add_argument(
        "--features", type=str, default="", help="feature store that takes the pictures' place"
    )
    flags.add_argument("--json", action="store_true", help="print everything as JSON")
    return flags


def run(arguments: Namespace) -> int:
    """Check; 1 when something would stop a run."""
    check_at_least(arguments, workers=0, min_count=1, max_length=1)
    from captioning.datasets.validate import Checks, validate_data

    names = ("fast", "workers", "min_count", "max_length", "features")
    report = validate_data(arguments.data, Checks(**{name: arguments[name] for name in names}))
    if arguments.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print("\n".join(lines_of(report)))
    return 0 if report["ok"] else 1


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report as people read it: the splits, then what is wrong, then the rest."""
    lines = [f"{report['data']}:"]
    for split, numbers in report["splits"].items():
        lines.append(f"  {split}: " + ", ".join(facts_of(numbers)))
    for kind in ("errors", "warnings"):
        lines += [f"{kind}:"] if report[kind] else []
        lines += [f"  {finding['message']}" for finding in report[kind]]
    verdict = "nothing here stops a run" if report["ok"] else "this stops training or evaluation"
    return [
        *lines,
        f"errors: {len(report['errors'])}, warnings: {len(report['warnings'])}; {verdict}",
    ]


def facts_of(numbers: dict[str, Any]) -> list[str]:
    """The numbers of a split in a few words each."""
    facts = [f"{numbers['pictures']:,} pictures"]
    if "captions" in numbers:
        each, words = numbers["captions_per_picture"], numbers["words_per_caption"]
        facts += [
            f"{numbers['captions']:,} captions ({each['min']} to {each['max']} a picture, median "
            f"{each['median']:g})",
            f"{words['mean']:.1f} words a caption (at most {words['max']})",
        ]
    if "vocabulary" in numbers:
        facts.append(
            f"vocabulary of {numbers['vocabulary']:,} out of {numbers['different_words']:,} words"
        )
    if coverage := numbers.get("coverage"):
        facts += [
            f"{coverage['known_tokens']:.1%} of the words in train's vocabulary",
            f"{numbers['captions_also_in_train']:,} captions also in train",
        ]
    return facts
