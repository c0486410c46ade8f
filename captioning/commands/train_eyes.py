"""`train-eyes`: the CNN of the picture book."""

from __future__ import annotations

import json
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import checked, explain, new_parser
from captioning.training.eyes_settings import EyesConfig


def parser() -> ArgumentParser:
    """Flags of `train-eyes`."""
    flags = new_parser("Teach a CNN to name objects and colours of drawn pictures (no captions).")
    flags.add_argument("--config", action="config", help="recipe: recipes/picturebook_eyes.yaml")
    flags.add_class_arguments(EyesConfig)
    flags.add_argument("--overwrite", action="store_true", help="replace what output holds")
    explain(flags, EyesConfig())
    return flags


def run(arguments: Namespace) -> int:
    """Train the eyes and print their scores."""
    record = arguments.as_dict()
    config = checked(EyesConfig, {name: record[name] for name in asdict(EyesConfig())})
    from captioning.training.eyes import train_eyes

    print(json.dumps(train_eyes(config, arguments.overwrite)))
    return 0
