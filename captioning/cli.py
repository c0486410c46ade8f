"""The command line: `python -m captioning COMMAND`, with the settings of `config.py` as flags.

Results go to stdout (with `--json` for programs), progress and notes to stderr. Exit codes: 0
success, 1 something failed, 2 wrong usage. Each command is a module of `captioning/commands` with
a `parser()` and a `run(arguments)` that returns the exit code.
"""

from __future__ import annotations

import io
import sys
from argparse import ArgumentError
from collections.abc import Sequence

from captioning.commands import (
    bench,
    caption,
    data,
    demo,
    distill,
    evaluate,
    features,
    import_,
    report,
    retrieve,
    score,
    train,
    train_clip,
    train_eyes,
)
from captioning.commands.flags import UsageError

COMMANDS = {
    "data": data,
    "features": features,
    "train": train,
    "train-clip": train_clip,
    "train-eyes": train_eyes,
    "distill": distill,
    "evaluate": evaluate,
    "caption": caption,
    "score": score,
    "report": report,
    "retrieve": retrieve,
    "import": import_,
    "bench": bench,
    "demo": demo,
}


def usage() -> str:
    """The text of `--help` without a command."""
    lines = [f"  {name:<12}{command.parser().description}" for name, command in COMMANDS.items()]
    return "\n".join(
        ["usage: python -m captioning COMMAND [--flags]", "", "commands:", *lines, ""]
        + ["`python -m captioning COMMAND --help` lists the flags of a command."]
    )


def _in_one_line(error: Exception, argv: list[str]) -> str:
    """What is wrong with a command line, and with which recipe."""
    message = " ".join(str(error).split()).rstrip(".")
    command, recipe = argv[0], ""
    if argv[1:] and argv[1] in vars(COMMANDS[command]).get("KINDS", ()):
        command = f"{command} {argv[1]}"
        if message.startswith("the following arguments are required"):
            message = message.replace(f" {argv[1]}.", " ")  # it says KIND.output
    for flag, value in zip(argv, [*argv[1:], ""], strict=True):
        if flag.partition("=")[0] == "--config":
            recipe = f" (with recipe {flag.partition('=')[2] or value})"
    return f"{message}{recipe}; `python -m captioning {command} --help` lists the flags"


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
    command = COMMANDS[argv[0]]
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold bytes that are no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        parser = command.parser()
        parser.prog = f"python -m captioning {argv[0]}"
        parser.usage = parser.usage or "%(prog)s [flags]"  # every flag follows in the list
        return command.run(parser.parse_args(argv[1:]))
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
