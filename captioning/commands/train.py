"""`train`: cross-entropy or self-critical training from a recipe."""

from __future__ import annotations

import json
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from captioning.commands.flags import UsageError, checked, explain, new_parser
from captioning.config import Experiment


def parser() -> ArgumentParser:
    """Flags of `train`."""
    flags = new_parser(
        "Train a captioner, with cross-entropy or on a reward, from pictures or a feature store."
    )
    flags.add_argument("--config", action="config", help="recipe, e.g. recipes/picturebook.yaml")
    flags.add_class_arguments(Experiment)
    flags.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    flags.add_argument("--overwrite", action="store_true", help="replace what output holds")
    flags.add_argument("--json", action="store_true", help="print the best scores as JSON")
    explain(flags, Experiment())
    return flags


def run(arguments: Namespace) -> int:
    """Train, and print the best validation scores."""
    record = arguments.as_dict()
    experiment = checked(Experiment, {name: record[name] for name in asdict(Experiment())})
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
        sees = experiment.encoder.backbone != "features"
        then = f"caption --model {experiment.output} PHOTO.jpg"
        if not sees:
            then = f"evaluate --model {experiment.output} --data {experiment.data} --features "
            then += experiment.loader.features
        print(f"next: python -m captioning {then}")
    return 0
