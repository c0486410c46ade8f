"""A small matrix in a folder of its own, run by the command, with its trainings counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from captioning.bench import measure
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter
from captioning.training.loop import train

RECIPE = {
    "device": "cpu",
    "loader": {"batch_size": 8, "captions_per_image": 2},
    "vocabulary": {"min_count": 2},
    "encoder": {"backbone": "features", "weights": "none"},
    "decoder": {"kind": "fc", "embed_dim": 8, "hidden_dim": 12, "dropout": 0.0},
    "training": {"num_epochs": 1, "learning_rate": 5e-3},
    "generation": {"max_length": 8},
}
MATRIX = {
    "title": "Is wider better?",
    "features": {"store": "f.h5"},
    "recipe": "recipe.yaml",
    "searches": {"beam 1": {"method": "greedy"}},
    "scores": ["CIDEr", "words"],
    "cells": {"plain": None, "wide one": {"decoder.hidden_dim": 20}},
}
FOLDER = Path("build") / "matrix" / "m"


@pytest.fixture
def matrix_place(tmp_path, tiny_data, monkeypatch):
    """A working directory with a recipe and a store of made-up regions."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump({"data": str(tiny_data), **RECIPE}))
    rng = np.random.default_rng(0)
    with StoreWriter("f.h5", imported_signature("test"), 6, False) as writer:
        for picture in list_data(tiny_data, list_splits(tiny_data)):
            writer.append(picture.image_id, rng.random((2, 6), np.float32), None, (32, 32))
        writer.finish()
    return tmp_path


@pytest.fixture
def trainings(monkeypatch):
    """Folder and `resume` of every training, as they are called."""
    calls = []

    def note(experiment, resume, **how):
        calls.append((Path(experiment.output).name, resume))
        return train(experiment, resume=resume, **how)

    monkeypatch.setattr(measure, "train", note)
    return calls


@pytest.fixture
def matrix(matrix_place, run_cli, trainings):
    """Write a matrix with some entries changed and run it."""

    def call(*flags, **entries):
        Path("m.yaml").write_text(yaml.safe_dump(MATRIX | entries, sort_keys=False))
        trainings.clear()
        return run_cli("bench", "matrix", "m.yaml", *flags)

    return call


def names(calls):
    return [name for name, _ in calls]


def times():
    return {path.name: path.stat().st_mtime_ns for path in FOLDER.glob("*_?.json")}
