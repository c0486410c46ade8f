"""The command line: `python -m captioning COMMAND`, with the settings of `config.py` as flags.

Results go to stdout (with `--json` for programs), progress and notes to stderr. Exit codes: 0
success, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from captioning.config import Experiment, EyesConfig, GenerationConfig, from_dict, walk


class UsageError(ValueError):
    """A flag has a value that is not allowed."""


def _parser(description: str) -> ArgumentParser:
    return ArgumentParser(description=description, default_env=False, exit_on_error=False)


def _explain(parser: ArgumentParser, config: Any, prefix: str = "") -> None:
    """Give the flags made from a config the help texts of its fields."""
    helps = {prefix + name: one.metadata["help"] for name, one, _ in walk(config)}
    for action in parser._actions:
        if action.dest in helps:
            action.help = helps[action.dest].replace("%", "%%") + " (default: %(default)s)"


def _add_generation(parser: ArgumentParser) -> None:
    """Decoding flags; those not given keep the bundle's defaults."""
    for name, one, default in walk(GenerationConfig()):
        kind = int if default is None else type(default)
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=one.metadata["help"])


def _generation(arguments: Namespace) -> dict[str, Any]:
    names = [name for name, _, _ in walk(GenerationConfig())]
    return {name: arguments[name] for name in names if arguments[name] is not None}


def data_parser() -> ArgumentParser:
    """Flags of `data`."""
    parser = _parser("Make or convert a data set.")
    commands = parser.add_subcommands(dest="kind")
    book = _parser("Draw the picture book: COCO-style data of drawn scenes.")
    book.add_argument("--output", type=str, default="data/picturebook", help="folder to write")
    for split, number in (("train", 3000), ("val", 300), ("test", 300)):
        book.add_argument(f"--{split}", type=int, default=number, help=f"{split} pictures")
    book.add_argument("--image_size", type=int, default=128, help="side in pixels")
    book.add_argument("--seed", type=int, default=0, help="other seeds draw other pictures")
    book.add_argument("--workers", type=int, default=0, help="processes; 0: one for each core")
    book.add_argument("--overwrite", action="store_true", help="replace an existing folder")
    commands.add_subcommand("picturebook", book)
    return parser


def run_data(arguments: Namespace) -> int:
    """Draw a picture book."""
    from captioning.datasets.picturebook.writer import write_picturebook

    settings = arguments.picturebook
    info = write_picturebook(
        Path(settings.output),
        train=settings.train,
        val=settings.val,
        test=settings.test,
        image_size=settings.image_size,
        seed=settings.seed,
        workers=settings.workers or None,
        overwrite=settings.overwrite,
    )
    print(json.dumps(info, indent=1))
    return 0


def train_parser() -> ArgumentParser:
    """Flags of `train`."""
    parser = _parser("Train a captioner with cross-entropy, end to end on pictures.")
    parser.add_argument("--config", action="config", help="recipe, e.g. recipes/picturebook.yaml")
    parser.add_class_arguments(Experiment)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="replace what output holds")
    parser.add_argument("--json", action="store_true", help="print the best scores as JSON")
    _explain(parser, Experiment())
    return parser


def _check_at_least(arguments: Namespace, **least: int) -> None:
    """Refuse numbers that are too small.

    Raises:
        UsageError: the first of them.
    """
    for name, low in least.items():
        if arguments[name] < low:
            raise UsageError(f"{name}: {arguments[name]} received, {low} or more expected")


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """What is wrong in here was typed wrongly.

    Raises:
        UsageError: in place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def _checked(config_class: type, record: dict[str, Any]) -> Any:
    """A config from parsed flags.

    Raises:
        UsageError: a value is out of range.
    """
    with _usage():
        return from_dict(config_class, record)


def run_train(arguments: Namespace) -> int:
    """Train, and print the best validation scores."""
    record = arguments.as_dict()
    experiment = _checked(Experiment, {name: record[name] for name in asdict(Experiment())})
    if arguments.resume and arguments.overwrite:
        raise UsageError("--resume and --overwrite: both received, at most one expected")
    from captioning.datasets.ready import ready_data
    from captioning.training.loop import train
    from captioning.training.processes import join_processes

    processes, _ = join_processes(experiment.device)
    with processes.main_first():
        ready_data(experiment.data, progress=processes.is_main)
    try:
        captioner = train(experiment, resume=arguments.resume, overwrite=arguments.overwrite)
    except KeyboardInterrupt:
        if processes.is_main:
            raise
        return 1
    if not processes.is_main:
        return 0
    record = captioner.record
    if arguments.json:
        print(json.dumps({"output": experiment.output, **record}))
    else:
        score = record["validation"]["CIDEr"]
        print(f"best epoch {record['epoch']}: validation CIDEr {score:.3f}")
        print(f"next: python -m captioning caption --model {experiment.output} PHOTO.jpg")
    return 0


def eyes_parser() -> ArgumentParser:
    """Flags of `train-eyes`."""
    parser = _parser("Teach a CNN to name objects and colours of drawn pictures (no captions).")
    parser.add_argument("--config", action="config", help="recipe: recipes/picturebook_eyes.yaml")
    parser.add_class_arguments(EyesConfig)
    parser.add_argument("--overwrite", action="store_true", help="replace what output holds")
    _explain(parser, EyesConfig())
    return parser


def run_eyes(arguments: Namespace) -> int:
    """Train the eyes and print their scores."""
    record = arguments.as_dict()
    config = _checked(EyesConfig, {name: record[name] for name in asdict(EyesConfig())})
    from captioning.training.eyes import train_eyes

    print(json.dumps(train_eyes(config, arguments.overwrite)))
    return 0


def evaluate_parser() -> ArgumentParser:
    """Flags of `evaluate`."""
    parser = _parser("Caption a split and score the captions.")
    parser.add_argument("--model", type=str, required=True, help="model bundle")
    parser.add_argument("--data", type=str, default="data/picturebook", help="data-set folder")
    parser.add_argument("--split", type=str, default="test", help="split to caption")
    parser.add_argument("--metrics", type=str, default="", help="e.g. cider,bleu_4,meteor")
    parser.add_argument("--output", type=str, default="", help="write the whole result as JSON")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at once")
    parser.add_argument("--max_pictures", type=int, default=0, help="first so many; 0 takes all")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    _add_generation(parser)
    return parser


def run_evaluate(arguments: Namespace) -> int:
    """Score a bundle on a split."""
    from captioning.bundle import Captioner
    from captioning.datasets.ready import ready_data
    from captioning.evaluation.evaluate import evaluate
    from captioning.evaluation.metrics import choose_metrics

    metrics = arguments.metrics.split(",") if arguments.metrics else None
    _check_at_least(arguments, batch_size=1, max_pictures=0)
    _check_output(arguments.output)
    ready_data(arguments.data)
    captioner = Captioner.load(arguments.model, arguments.device)
    with _usage():
        captioner.generation_config(**_generation(arguments))
        choose_metrics(metrics)
    result = evaluate(
        captioner,
        arguments.data,
        arguments.split,
        metrics,
        arguments.batch_size,
        progress=True,
        max_pictures=arguments.max_pictures,
        **_generation(arguments),
    )
    _give(result, arguments)
    return 0


def _check_output(output: str) -> None:
    """Refuse a result file that cannot be written, before the work is done.

    Raises:
        OSError: its folder cannot be made, or a folder stands in its place.
    """
    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        if Path(output).is_dir():
            raise IsADirectoryError(f"{output}: a folder, the name of a file to write expected")


def _give(result: dict[str, Any], arguments: Namespace) -> None:
    """Write a result to its file and show it."""
    from captioning.bundle import write_atomically
    from captioning.evaluation.score_command import format_table

    text = json.dumps(result, ensure_ascii=False)
    if arguments.output:
        path = Path(arguments.output)
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
    print(text if arguments.json else format_table(result))


def caption_parser() -> ArgumentParser:
    """Flags of `caption`."""
    parser = _parser("Caption pictures: files, folders, globs. Needs no data set.")
    parser.add_argument("--model", type=str, required=True, help="model bundle")
    parser.add_argument("paths", type=str, nargs="+", help="pictures, folders or globs")
    parser.add_argument("--batch_size", type=int, default=8, help="pictures at once")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_generation(parser)
    return parser


def run_caption(arguments: Namespace) -> int:
    """Print a line for each caption; an unreadable file costs the exit code, not the rest."""
    from captioning.bundle import Captioner
    from captioning.picture_files import caption_files, find_pictures
    from data_loader import UnreadableImageError

    _check_at_least(arguments, batch_size=1)
    captioner = Captioner.load(arguments.model, arguments.device)
    failed = False
    overrides = _generation(arguments)
    with _usage():
        captioner.generation_config(**overrides)
    paths = find_pictures(arguments.paths)
    for path, outcome in caption_files(captioner, paths, arguments.batch_size, **overrides):
        if isinstance(outcome, UnreadableImageError):
            failed = True
            print(f"error: {outcome}", file=sys.stderr)
            continue
        for caption in outcome:
            row = {"file": str(path), "caption": caption.text, "logprob": round(caption.logprob, 4)}
            line = (
                json.dumps(row, ensure_ascii=False)
                if arguments.json
                else f"{path}: {row['caption']}"
            )
            print(line, flush=True)
    return int(failed)


def score_parser() -> ArgumentParser:
    """Flags of `score`."""
    parser = _parser("Score a caption file against reference captions.")
    parser.add_argument("--references", type=str, required=True, help="COCO caption annotations")
    parser.add_argument("--candidates", type=str, required=True, help="COCO results file")
    parser.add_argument("--metrics", type=str, default="", help="e.g. cider,bleu_4,meteor")
    parser.add_argument(
        "--document_frequency", type=str, default="corpus", help="corpus, a table or a bundle"
    )
    parser.add_argument("--tokenizer", type=str, default="ptb", help="ptb, or none (tokenised)")
    parser.add_argument("--output", type=str, default="", help="write the whole result as JSON")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    return parser


def run_score(arguments: Namespace) -> int:
    """Score two files."""
    from captioning.evaluation.score_command import score_files

    _check_output(arguments.output)
    metrics = arguments.metrics.split(",") if arguments.metrics else None
    files = (Path(arguments.references), Path(arguments.candidates))
    table, tokenizer = arguments.document_frequency, arguments.tokenizer
    _give(score_files(*files, metrics, table, tokenizer), arguments)
    return 0


def demo_parser() -> ArgumentParser:
    """Flags of `demo`."""
    parser = _parser("Open the web page on this machine.")
    parser.add_argument("--models", type=str, default="models", help="folder of model bundles")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port; 0 takes a free one")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return parser


def run_demo(arguments: Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from captioning.demo.app import serve

    serve(Path(arguments.models), arguments.host, arguments.port, arguments.device)
    return 0


COMMANDS = {
    "data": (data_parser, run_data),
    "train": (train_parser, run_train),
    "train-eyes": (eyes_parser, run_eyes),
    "evaluate": (evaluate_parser, run_evaluate),
    "caption": (caption_parser, run_caption),
    "score": (score_parser, run_score),
    "demo": (demo_parser, run_demo),
}


def usage() -> str:
    """The text of `--help` without a command."""
    lines = [f"  {name:<12}{make().description}" for name, (make, _) in COMMANDS.items()]
    return "\n".join(
        ["usage: python -m captioning COMMAND [--flags]", "", "commands:", *lines, ""]
        + ["`python -m captioning COMMAND --help` lists the flags of a command."]
    )


def _in_one_line(error: Exception, argv: list[str]) -> str:
    """What is wrong with a command line, and with which recipe."""
    message = " ".join(str(error).split()).rstrip(".")
    recipe = ""
    for flag, value in zip(argv, [*argv[1:], ""], strict=True):
        if flag.partition("=")[0] == "--config":
            recipe = f" (with recipe {flag.partition('=')[2] or value})"
    return f"{message}{recipe}; `python -m captioning {argv[0]} --help` lists the flags"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if not argv or argv[0] not in COMMANDS:
        received = repr(argv[0]) if argv else "nothing"
        print(
            f"error: command: {received} received, one of {list(COMMANDS)} expected",
            file=sys.stderr,
        )
        return 2
    make, run = COMMANDS[argv[0]]
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        parser = make()
        parser.prog = f"python -m captioning {argv[0]}"
        parser.usage = "%(prog)s [flags]"  # every flag follows in the list
        return run(parser.parse_args(argv[1:]))
    except (UsageError, ArgumentError) as error:
        print(f"error: {_in_one_line(error, argv)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return 1
    except KeyboardInterrupt as error:
        print(f"\n{str(error) or 'stopped'}", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
