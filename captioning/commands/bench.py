"""`bench KIND`: measurements: experiment matrices, how long captions take."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from argparse import ArgumentError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from captioning.commands import bench_latency, features
from captioning.commands.flags import UsageError, add_kinds, new_parser, wrong_usage

if TYPE_CHECKING:
    from captioning.bench.matrix_file import Matrix

WORK = Path("build") / "matrix"  # ignored by git


def parser() -> ArgumentParser:
    """Flags of `bench`."""
    flags = new_parser("Measure: matrices of experiments, how long captions take.")
    add_kinds(flags, "bench", {name: make() for name, (make, _) in KINDS.items()})
    return flags


def run(arguments: Namespace) -> int:
    """Do what the kind says."""
    return KINDS[arguments.kind][1](arguments[arguments.kind])


# ----------------------------------------------------------------------------------------- matrix


def _matrix_parser() -> ArgumentParser:
    flags = new_parser("Train and test the cells of a matrix file; what was measured is kept.")
    flags.add_argument("file", type=str, help="e.g. benchmarks/matrices/space.yaml")
    flags.add_argument(
        "--output", type=str, default="", help=f"folder of the results (default: {WORK}/NAME)"
    )
    flags.add_argument("--only", type=str, default="", help='cells, e.g. "plain,object relations"')
    flags.add_argument("--seeds", type=str, default="", help="e.g. 0,1; not given: the file's")
    flags.add_argument(
        "--overwrite",
        action="store_true",
        help="measure again what has other settings now; start interrupted runs anew",
    )
    flags.add_argument(
        "--delete_models",
        action="store_true",
        help="remove the trained models of measured cells, keep their results",
    )
    flags.add_argument("--json", action="store_true", help="print the summary as JSON")
    return flags


def run_matrix(arguments: Namespace) -> int:
    """Measure what is missing; print the table, and write it as summary.json."""
    with wrong_usage():
        from captioning.bench.matrix_file import check_seeds, read_matrix

        matrix = read_matrix(arguments.file)
        typed = check_seeds(_numbers(arguments.seeds)) if arguments.seeds else matrix.seeds
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    for name in only:
        if name not in matrix.cells:
            raise UsageError(f"only: {name!r} received, some of {list(matrix.cells)} expected")
    from captioning.bench.matrix import (
        Options,
        choose,
        collect,
        delete_models,
        find_work,
        run_trials,
    )
    from captioning.bench.summary import summarise
    from captioning.bench.trials import list_trials

    output = Path(arguments.output) if arguments.output else WORK / matrix.name
    seeds = [*matrix.seeds, *(seed for seed in typed if seed not in matrix.seeds)]
    trials = list_trials(matrix, seeds, WORK / matrix.name)
    chosen = choose(trials, only, typed)
    work = find_work(chosen, output, arguments.overwrite)
    _make_folder(output)
    if work:
        _make_ready(matrix)
    options = Options(arguments.overwrite, sys.stderr.isatty(), _say)
    failed = run_trials(work, output, options)
    records = collect(trials, output, _say)
    if arguments.delete_models:
        delete_models(chosen, records)
    _give(summarise(matrix, records, seeds), output, arguments.json)
    return int(bool(failed))


def _numbers(text: str) -> list[Any]:
    """The numbers of a list; what is none stays text, for others to refuse."""
    words = [word.strip() for word in text.split(",")]
    return [int(word) if re.fullmatch(r"\d{1,9}", word) else word for word in words]


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _make_folder(output: Path) -> None:
    """The folder of the results, before the work is done.

    Raises:
        OSError: it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{output}: no folder for results ({error.strerror})") from error


def _make_ready(matrix: Matrix) -> None:
    """The data, and the feature store where it is missing.

    Raises:
        FileNotFoundError, ValueError: there is no such data, or no such store can be made.
    """
    from captioning.bench.store import (
        check_judges_of,
        note_command,
        store_flags,
        store_is_missing,
    )
    from captioning.datasets.ready import ready_data

    ready_data(matrix.data)
    check_judges_of(matrix)
    if not store_is_missing(matrix):
        return
    flags = store_flags(matrix)
    _say(f"features {' '.join(flags)}")
    try:
        typed = features.parser().parse_args(flags)
        Path(matrix.store).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):
            features.run(typed)
    except (UsageError, ArgumentError) as error:
        message = " ".join(str(error).split())
        raise UsageError(f"{matrix.path}: features.command: {message}") from error
    note_command(matrix)


def _give(summary: dict[str, Any], output: Path, as_json: bool) -> None:
    """Write the summary beside the results and show it."""
    from captioning.bench.summary import format_tables
    from captioning.files import write_atomically

    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    place = output / "summary.json"
    write_atomically(place, lambda path: path.write_text(text, "utf-8"))
    if as_json:
        print(text, end="")
        return
    if summary["title"]:
        print(f"{summary['title']}\n")
    print(format_tables(summary))
    _say(f"{place}: the numbers of these tables")


KINDS = {
    "matrix": (_matrix_parser, run_matrix),
    "latency": (bench_latency.parser, bench_latency.run),
}
