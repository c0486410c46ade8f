"""Training and testing of trials: a model is made once, a result is written whole or not at all."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from captioning.bench.bundles import describe_bundle, epochs_of, is_finished, store_signature
from captioning.bench.trials import (
    Trial,
    asked_of,
    missing_searches,
    result_path,
)
from captioning.bundle import Captioner
from captioning.evaluation.distill import DistillOptions, distill, distill_config
from captioning.evaluation.evaluate import evaluate
from captioning.evaluation.picture_metrics import Judges
from captioning.files import read_json, write_atomically
from captioning.settings import to_dict
from captioning.training.loop import train

MARK = "trial.txt"  # in a model's folder: the hash of the trial that it belongs to
CHECKPOINT = Path("checkpoint") / "state.pt"


def mark_of(folder: Path) -> str:
    """The hash of the trial that a model belongs to; empty for models of others."""
    path = folder / MARK
    return path.read_text("utf-8").strip() if path.is_file() else ""


def is_made(trial: Trial) -> bool:
    """Whether the model of a trial is there, trained to the end."""
    return mark_of(trial.folder) == trial.hash and is_finished(trial.folder, trial.experiment)


def check_place(trial: Trial) -> None:
    """Refuse to train where a model lies that was measured, or that somebody else put there.

    Raises:
        FileExistsError: the folder.
    """
    for source in trial.sources.values():
        check_place(source)
    folder, mark = trial.folder, mark_of(trial.folder)
    interrupted = mark and (folder / CHECKPOINT).is_file()
    if mark != trial.hash and (folder / "model.safetensors").is_file() and not interrupted:
        raise FileExistsError(f"{folder}: holds a model of other settings; --overwrite replaces it")


def make_model(trial: Trial, overwrite: bool = False, progress: bool = False) -> float:
    """Train the model of a trial, and make what it needs, unless they are there.

    Args:
        trial (Trial): see there.
        overwrite (bool): an interrupted run is started anew, not gone on with.
        progress (bool): bars and notes on stderr.

    Returns:
        float: seconds of its own training, with those of earlier parts of an interrupted run.

    Raises:
        ValueError, TrainingError, KeyboardInterrupt: see `train`.
    """
    if is_made(trial):
        return 60 * _minutes(trial)
    if trial.start:
        make_model(trial.start, progress=progress)
    if trial.teacher:
        make_captions(trial, trial.teacher, progress)
    began, folder = time.perf_counter(), trial.folder
    resume = mark_of(folder) == trial.hash and (folder / CHECKPOINT).is_file() and not overwrite
    before = _minutes(trial) if resume else 0.0
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / MARK, lambda path: path.write_text(trial.hash, "utf-8"))
    train(trial.experiment, resume=resume, overwrite=not resume, progress=progress)
    return 60 * before + time.perf_counter() - began


def make_captions(trial: Trial, teacher: Trial, progress: bool = False) -> None:
    """Write down what a teacher says of the pictures that a trial learns from, unless it is there.

    The file is named after all that decides it, but for what the feature store holds: it tells so.

    Args:
        trial (Trial): who learns.
        teacher (Trial): its model is trained first where it is missing.
        progress (bool): bars on stderr.

    Raises:
        ValueError, TrainingError, KeyboardInterrupt: see `make_model` and `distill`.
    """
    file = Path(trial.experiment.train_captions)
    if _is_said(file, store_signature(teacher.experiment)):
        return
    make_model(teacher, progress=progress)
    captioner = Captioner.load(teacher.folder, teacher.experiment.device)
    loader = trial.experiment.loader
    options = DistillOptions(
        str(teacher.folder),
        teacher.experiment.loader.features,
        max_pictures=loader.max_pictures,
        overwrite=True,  # damaged captions, of another store, begun by a teacher that is gone
        progress=progress,
    )
    config = distill_config(captioner, **trial.search)
    distill(captioner, trial.experiment.data, loader.train_split, file, config, options)


def _is_said(file: Path, signature: dict[str, Any] | None) -> bool:
    """Whether captions are there, said of the features with this signature."""
    try:
        return read_json(file)["info"]["features_signature"] == signature
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # the last three: damaged
        return False


def _minutes(trial: Trial) -> float:
    """Minutes of the epochs of a run so far."""
    return sum(row["minutes"] for row in epochs_of(trial.folder, trial.experiment)[-1:])


def measure(
    trial: Trial,
    kept: dict[str, Any] | None,
    output: Path,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Train a trial, test it with the searches that are missing, and write its result.

    Args:
        trial (Trial): see there.
        kept (dict | None): what was measured of it already.
        output (Path): folder of the results.
        overwrite, progress (bool): see `make_model`.

    Returns:
        dict: `cell`, `seed`, `hash`, `settings`, `start` (cell), `captions` (cell and search of
        those it learns from), `command` and signature of the `features`; what `describe_bundle`
        gives; `seconds` of training; `threads`, `device` and `versions`; `tests`: for each search
        what `evaluate` gives, with `asked` (split and settings) and `seconds`.
    """
    seconds = make_model(trial, overwrite, progress)
    captioner = Captioner.load(trial.folder, trial.experiment.device)
    tests = dict(kept["tests"]) if kept else {}
    record = kept or {
        "cell": trial.cell,
        "seed": trial.seed,
        "hash": trial.hash,
        "settings": to_dict(trial.experiment),
        "start": trial.start.cell if trial.start else "",
        "captions": trial.captions,
        "command": list(trial.matrix.command),
        "features": store_signature(trial.experiment),
        **describe_bundle(trial.folder, captioner),
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "device": str(captioner.device),
        "versions": captioner.to_dict()["versions"],
    }
    data, store = trial.experiment.data, trial.experiment.loader.features
    named = dict(trial.matrix.evaluate)
    metrics = named.pop("metrics", None)
    judges = Judges(**named)
    for name in missing_searches(kept, trial):
        began = time.perf_counter()
        search = trial.matrix.searches[name]
        result = evaluate(
            captioner, data, trial.matrix.split, metrics, features=store, judges=judges, **search
        )
        spent = time.perf_counter() - began
        tests[name] = {"asked": asked_of(trial)[name], "seconds": spent, **result}
    record = record | {"tests": tests}
    text = json.dumps(record, ensure_ascii=False)
    write_atomically(result_path(trial, output), lambda path: path.write_text(text, "utf-8"))
    shutil.rmtree(trial.folder / CHECKPOINT.parent, ignore_errors=True)  # it is not resumed again
    return record


def seconds_of(record: dict[str, Any]) -> float:
    """Wall-clock seconds of training and of all tests of a result."""
    return record["seconds"] + sum(test["seconds"] for test in record["tests"].values())


def delete_model(trial: Trial) -> None:
    """Remove the model of a trial; a folder without its mark is somebody else's."""
    if mark_of(trial.folder) == trial.hash:
        shutil.rmtree(trial.folder)
