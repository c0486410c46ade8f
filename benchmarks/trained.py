"""What the benchmarks that train share: finished runs are recognised, bundles are tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captioning.bundle import Captioner
from captioning.commands.train import parser as train_parser
from captioning.config import Experiment
from captioning.evaluation.evaluate import evaluate
from captioning.files import write_atomically
from captioning.settings import from_dict, to_dict
from captioning.training.history import read_history
from captioning.training.run import flatten

SEARCHES = {
    "beam 1": {"method": "greedy"},
    "beam 5": {"method": "beam", "beam_size": 5, "length_penalty": 0.0},
}
KEYS = (
    *("CIDEr", "Bleu_4", "ROUGE_L", "facts", "object_f1", "colour_accuracy", "relation_accuracy"),
    *("setting_accuracy", "bad_endings", "repetition", "words", "distinct_captions"),
)


def experiment_of(flags: list[str]) -> Experiment:
    """The settings that these flags of `train` give."""
    record = train_parser().parse_args(flags).as_dict()
    return from_dict(Experiment, {name: record[name] for name in to_dict(Experiment())})


def test_bundle(folder: Path, data: Path, keep: bool = True) -> dict[str, Any]:
    """How a bundle was trained and what it scores on test.

    Args:
        folder (Path): the bundle.
        data (Path): data-set folder.
        keep (bool): remember the result beside the bundle until its weights change.
    """
    tested = folder.with_name(folder.name + ".json")
    if keep and tested.is_file() and tested.stat().st_mtime > weights_of(folder):
        return json.loads(tested.read_text("utf-8"))
    captioner = Captioner.load(folder)
    rows = [row for row in read_history(folder / "history.jsonl") if row["kind"] == "epoch"]
    record = {
        "minutes": rows[-1]["minutes"],
        "best_epoch": captioner.record["epoch"],
        "val_CIDEr": captioner.record["validation"]["CIDEr"],
        "parameters": sum(p.numel() for p in captioner.decoder.parameters()),
        "test": {
            name: pick(evaluate(captioner, data, "test", **search)["overall"])
            for name, search in SEARCHES.items()
        },
    }
    if keep:
        write_atomically(tested, lambda file: file.write_text(json.dumps(record), "utf-8"))
    return record


def weights_of(folder: Path) -> float:
    """When the weights of a bundle were written."""
    return (folder / "model.safetensors").stat().st_mtime


def is_finished(folder: Path, experiment: Experiment) -> bool:
    """Whether a bundle holds the result of exactly these settings, all epochs of them."""
    if not (folder / "model.safetensors").is_file():
        return False
    kept = json.loads((folder / "config.json").read_text("utf-8"))["experiment"]
    rows = [row for row in read_history(folder / "history.jsonl") if row["kind"] == "epoch"]
    same = flatten(kept) | {"output": ""} == flatten(to_dict(experiment)) | {"output": ""}
    return same and rows[-1]["epoch"] == experiment.training.num_epochs


def pick(overall: dict[str, float]) -> dict[str, float]:
    """The scores of the table that this data set has."""
    return {key: overall[key] for key in KEYS if key in overall}
