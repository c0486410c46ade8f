"""`train-clip`: a small CLIP from scratch, or a grammar judge on top of a CLIP."""

from __future__ import annotations

import json
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from captioning.clip.settings import ClipConfig
from captioning.commands.flags import checked, explain, new_parser


def parser() -> ArgumentParser:
    """Flags of `train-clip`."""
    flags = new_parser(
        "Train a small CLIP that judges captions, or a grammar judge on a CLIP's text encoder."
    )
    flags.add_argument("--config", action="config", help="e.g. recipes/picturebook_clip.yaml")
    flags.add_class_arguments(ClipConfig)
    flags.add_argument("--overwrite", action="store_true", help="replace what output holds")
    flags.add_argument("--json", action="store_true", help="print the best scores as JSON")
    explain(flags, ClipConfig())
    return flags


def run(arguments: Namespace) -> int:
    """Train, and print the scores of the best epoch."""
    record = arguments.as_dict()
    config = checked(ClipConfig, {name: record[name] for name in asdict(ClipConfig())})
    from captioning.datasets.ready import ready_data

    ready_data(config.data)
    if config.objective == "grammar":
        from captioning.training.grammar import train_grammar as train
    else:
        from captioning.training.clip import train_clip as train
    best = train(config, arguments.overwrite)
    print(json.dumps({"output": config.output, **best}) if arguments.json else _told(config, best))
    return 0


def _told(config: ClipConfig, best: dict) -> str:
    """The scores as a small table."""
    from captioning.evaluation.retrieval import WAYS, format_retrieval

    head = f"best epoch {best['epoch']}, {best['minutes']:.1f} minutes; split {config.val_split}:"
    table = format_retrieval({way: best[way] for way in WAYS}) + "\n"
    if config.objective == "grammar":
        names = ("accuracy", "precision", "recall", "f1")
        table += ", ".join(f"{name} {best[name]:.3f}" for name in names)
        table += " (of telling whole captions from broken ones)\n"
    return f"{head}\n{table}{config.output}: written"
