"""What the commands share: parsers made from settings, checked flags, results that are written."""

from __future__ import annotations

import contextlib
import json
from argparse import Action
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from captioning.config import GenerationConfig
from captioning.settings import from_dict, walk


class UsageError(ValueError):
    """A flag has a value that is not allowed."""


class HelpFormatter(DefaultHelpFormatter):
    """Says a default once, and not where there is none."""

    def _get_help_string(self, action: Action) -> str:
        text = super()._get_help_string(action)
        told = any(mark in (action.help or "") for mark in ("(default:", "(not given:"))
        if told or action.default in (None, ""):
            text = text.replace(", default: %(default)s)", ")")
        return text


def new_parser(description: str) -> ArgumentParser:
    return ArgumentParser(
        description=description,
        default_env=False,
        exit_on_error=False,
        formatter_class=HelpFormatter,
    )


def add_kinds(flags: ArgumentParser, command: str, kinds: Mapping[str, ArgumentParser]) -> None:
    """Give a command kinds with flags of their own; `arguments.kind` says which was typed."""
    flags.usage = "%(prog)s KIND [flags]"
    commands = flags.add_subcommands(dest="kind")
    for name, parser in kinds.items():
        commands.add_subcommand(name, parser, help=parser.description)
        parser.prog = f"python -m captioning {command} {name}"
        parser.usage = "%(prog)s [flags]"  # every flag follows in the list


def explain(parser: ArgumentParser, config: Any, prefix: str = "") -> None:
    """Give the flags made from a config the help texts of its fields, and their groups titles."""
    for name, group in parser.groups.items():
        group.title = "settings" if name == type(config).__name__ else f"{name} settings"
    helps = {prefix + name: one.metadata["help"] for name, one, _ in walk(config)}
    for action in parser._actions:
        if action.dest in helps:
            action.help = helps[action.dest].replace("%", "%%") + " (default: %(default)s)"


def add_models(flags: ArgumentParser) -> None:
    """One bundle, or several that speak with one voice; see `captioning.ensemble.parse_models`."""
    flags.add_argument(
        "--model", type=str, required=True, help="model bundle; A,B (no space): an ensemble of both"
    )
    flags.add_argument(
        "--model_weights", type=str, default="", help="weights of an ensemble, e.g. 0.7,0.3"
    )


def add_generation(parser: ArgumentParser) -> None:
    """Decoding flags; those not given keep the bundle's defaults."""
    for name, one, default in walk(GenerationConfig()):
        kind = int if default is None else type(default)
        text = one.metadata["help"] + " (not given: the model's own setting)"
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=text)


def generation_of(arguments: Namespace) -> dict[str, Any]:
    names = [name for name, _, _ in walk(GenerationConfig())]
    return {name: arguments[name] for name in names if arguments[name] is not None}


def check_at_least(arguments: Namespace, **least: int) -> None:
    """Refuse numbers that are too small.

    Raises:
        UsageError: the first of them.
    """
    for name, low in least.items():
        if arguments[name] < low:
            raise UsageError(f"{name}: {arguments[name]} received, {low} or more expected")


@contextlib.contextmanager
def wrong_usage() -> Iterator[None]:
    """What is wrong in here was typed wrongly.

    Raises:
        UsageError: in place of a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def checked(config_class: type, record: dict[str, Any]) -> Any:
    """A config from parsed flags.

    Raises:
        UsageError: a value is out of range.
    """
    with wrong_usage():
        return from_dict(config_class, record)


def check_output(output: str, overwrite: bool) -> None:
    """Refuse a result file that cannot or must not be written, before the work is done.

    Raises:
        OSError: its folder cannot be made, or see `check_free`.
    """
    from captioning.files import check_free

    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        check_free(output, overwrite)


def give(result: dict[str, Any], arguments: Namespace) -> None:
    """Write a result to its file and show it."""
    from captioning.evaluation.score_command import format_table
    from captioning.files import write_atomically

    text = json.dumps(result, ensure_ascii=False)
    if arguments.output:
        path = Path(arguments.output)
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))
    print(text if arguments.json else format_table(result))
