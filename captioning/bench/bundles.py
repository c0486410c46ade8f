"""Model bundles as results: finished runs are recognised, described and tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captioning.bundle import Captioner
from captioning.config import Experiment
from captioning.evaluation.evaluate import evaluate
from captioning.features.store import FeatureStore
from captioning.files import read_json, write_atomically
from captioning.settings import from_dict, walk
from captioning.training.history import read_history
from captioning.training.run import FREE_ON_RESUME

SEARCHES: dict[str, dict[str, Any]] = {
    "beam 1": {"method": "greedy"},
    "beam 5": {"method": "beam", "beam_size": 5, "length_penalty": 0.0},
}
KEYS = (
    *("CIDEr", "Bleu_4", "ROUGE_L", "facts", "object_f1", "colour_accuracy", "relation_accuracy"),
    *("setting_accuracy", "bad_endings", "repetition", "words", "distinct_captions"),
)


def deciding(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide a result, by dotted name: not where, and on what, it is made."""
    return {name: v for name, _, v in walk(experiment) if name not in FREE_ON_RESUME}


def is_finished(folder: str | Path, experiment: Experiment) -> bool:
    """Whether a bundle holds the result of exactly these settings, all epochs of them.

    A setting that the bundle is too old to know had what is its default now.
    """
    folder = Path(folder)
    if not (folder / "model.safetensors").is_file():
        return False
    try:
        config = read_json(folder / "config.json")
        kept = from_dict(Experiment, config["experiment"])
    except (ValueError, KeyError, FileNotFoundError):  # a setting that is gone; a damaged bundle
        return False
    if experiment.encoder.backbone == "features" and not experiment.encoder.feature_dim:
        kept.encoder.feature_dim = 0  # the run read it from the store
    if deciding(kept) != deciding(experiment) or not (rows := epochs_of(folder, experiment)):
        return False
    signature = store_signature(experiment)
    if signature and config.get("record", {}).get("features", signature) != signature:
        return False
    settings, last = experiment.training, rows[-1]
    waited = last["epoch"] - last["best_epoch"]
    return last["epoch"] == settings.num_epochs or 0 < settings.early_stopping <= waited


def store_signature(experiment: Experiment) -> dict[str, Any] | None:
    """What made the features of a run, as its store says; None without a store."""
    path = experiment.loader.features
    return FeatureStore(path).signature if path and Path(path).is_file() else None


def epochs_of(folder: Path, experiment: Experiment) -> list[dict[str, Any]]:
    """The rows of a run's history that end its epochs."""
    path = folder / experiment.training.log_file
    rows = read_history(path) if path.is_file() else []
    return [row for row in rows if row["kind"] == "epoch"]


def describe_bundle(folder: Path, captioner: Captioner) -> dict[str, Any]:
    """How a bundle was trained.

    Args:
        folder (Path): the bundle.
        captioner (Captioner): what it holds.

    Returns:
        dict: `minutes` of all epochs, validation included, `best_epoch`, its `val_CIDEr`, and the
        decoder's number of `parameters`.
    """
    return {
        "minutes": epochs_of(folder, captioner.experiment)[-1]["minutes"],
        "best_epoch": captioner.record["epoch"],
        "val_CIDEr": captioner.record["validation"]["CIDEr"],
        "parameters": sum(p.numel() for p in captioner.decoder.parameters()),
    }


def test_bundle(folder: Path, data: Path, keep: bool = True) -> dict[str, Any]:
    """How a bundle was trained and what it scores on test with the searches of our tables.

    Args:
        folder (Path): the bundle.
        data (Path): data-set folder.
        keep (bool): remember the result beside the bundle until its weights change.

    Returns:
        dict: what `describe_bundle` gives, and `test`: search to score.
    """
    tested = folder.with_name(folder.name + ".json")
    written = (folder / "model.safetensors").stat().st_mtime
    if keep and tested.is_file() and tested.stat().st_mtime > written:
        return json.loads(tested.read_text("utf-8"))
    captioner = Captioner.load(folder)
    test = {}
    for name, search in SEARCHES.items():
        overall = evaluate(captioner, data, "test", **search)["overall"]
        test[name] = {key: overall[key] for key in KEYS if key in overall}
    record = describe_bundle(folder, captioner) | {"test": test}
    if keep:
        write_atomically(tested, lambda file: file.write_text(json.dumps(record), "utf-8"))
    return record
