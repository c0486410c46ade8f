"""The folder a run writes into: refused when used, replaced when asked, kept whole always."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from captioning.config import Experiment
from captioning.files import write_atomically
from captioning.rewards.frequency import FILE_NAME as FREQUENCY_FILE
from captioning.training.card import model_card
from captioning.training.run import Run

BUNDLE_FILES = (
    "model.safetensors",
    "config.json",
    "vocabulary.json",
    "README.md",
    FREQUENCY_FILE,
)


def check_output(experiment: Experiment, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a model already when nothing was said about it.

    Raises:
        FileExistsError: there is a bundle or a checkpoint, and neither flag was given.
        FileNotFoundError: there is nothing to resume.
    """
    folder = Path(experiment.output)
    checkpoint = folder / "checkpoint" / "state.pt"
    if resume and overwrite:
        raise ValueError("resume and overwrite: both received, at most one expected")
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint to resume from")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: a file stands there, a folder for the bundle expected")
    used = [name for name in (*BUNDLE_FILES, "checkpoint/state.pt") if (folder / name).exists()]
    if used and not (resume or overwrite):
        raise FileExistsError(
            f"{folder}: holds {used[0]} already; --resume goes on with it, --overwrite starts anew"
        )


def prepare_output(experiment: Experiment, overwrite: bool) -> None:
    """Make the folder of a run; with `overwrite` an empty one."""
    folder = Path(experiment.output)
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in (*BUNDLE_FILES, "checkpoint/state.pt", experiment.training.log_file):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def keep_if_best(run: Run, row: dict[str, Any], folder: Path) -> None:
    """Write the bundle when the validation CIDEr is the best so far, or the last are wanted."""
    if row["CIDEr"] <= run.best and run.experiment.training.keep == "best":
        return
    run.best, run.best_epoch = row["CIDEr"], run.epoch
    if run.processes.is_main:
        write_bundle(run, row, folder)


def write_bundle(run: Run, row: dict[str, Any], folder: Path) -> None:
    """The captioner as it is now, its record, its card, and the table behind its reward."""
    captioner, experiment = run.captioner, run.experiment
    captioner.record = {
        "epoch": run.epoch,
        "step": run.step,
        "seed": experiment.seed,
        "validation": {key: value for key, value in row.items() if key != "samples"},
        "data": experiment.data,
    }
    if (store := run.loader.dataset.features) is not None:
        captioner.record["features"] = store.signature
    captioner.reward = run.objective.signature()
    captioner.save(folder, experiment.training.half_precision)
    if run.objective.frequency is not None:
        run.objective.frequency.save(folder / FREQUENCY_FILE)
    card = model_card(captioner, folder.name)
    write_atomically(folder / "README.md", lambda path: path.write_text(card, "utf-8"))
