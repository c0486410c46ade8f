"""Recipes: understood, consistent with each other, and faithful to the published schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from captioning.bundle import Captioner
from captioning.commands.train import parser
from captioning.config import EncoderConfig, Experiment
from captioning.datasets.picturebook.writer import write_picturebook
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter
from captioning.settings import from_dict
from captioning.training.history import read_history
from captioning.training.loop import train
from captioning.training.run import check_same_architecture

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if "eyes" not in path.stem)
COCO = [path.stem for path in RECIPES if path.stem.startswith("coco_")]


def read(name: str) -> Experiment:
    record = parser().parse_args(["--config", str(ROOT / "recipes" / f"{name}.yaml")]).as_dict()
    return from_dict(Experiment, {key: record[key] for key in vars(Experiment())})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_understood_and_says_how_to_run_it(path):
    experiment = read(path.stem)
    text = path.read_text("utf-8")
    assert text.startswith("# ") and f"train --config recipes/{path.name}" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    if path.stem.startswith("coco_"):
        assert experiment.output == f"models/{path.stem}" and "CIDEr" in text


def test_there_are_three_stages_of_three_decoders():
    assert len(COCO) == 9
    assert {read(name).decoder.kind for name in COCO} == {"fc", "att2in2", "updown"}


@pytest.mark.parametrize("name", [name for name in COCO if name.endswith(("_scst", "_nsc"))])
def test_the_second_stage_fits_the_first(name):
    second = read(name)
    first = read(Path(second.init_from).name)
    check_same_architecture(second, first)
    assert first.output == second.init_from
    assert second.loader.features == first.loader.features
    assert second.vocabulary.max_length == first.vocabulary.max_length
    assert (
        second.self_critical.baseline
        == {"scst": "greedy", "nsc": "leave_one_out"}[name.rpartition("_")[2]]
    )
    assert second.training.schedule == "constant" and second.training.learning_rate == 5e-5


@pytest.mark.parametrize("name", COCO)
def test_the_store_of_a_recipe_is_named_after_its_grid(name):
    experiment = read(name)
    store = Path(experiment.loader.features).stem
    assert store == f"{experiment.encoder.backbone}_grid{experiment.encoder.grid}"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A small picture book with a store of made-up features, and room for the runs."""
    folder = tmp_path_factory.mktemp("recipes")
    write_picturebook(folder / "book", train=24, val=4, test=2, image_size=32, workers=1)
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "f.h5", imported_signature("test"), 6, True) as writer:
        for picture in list_data(folder / "book", list_splits(folder / "book")):
            boxes = np.tile(np.array([[0.0, 0.0, 0.5, 1.0]], np.float32), (3, 1))
            writer.append(picture.image_id, rng.random((3, 6), np.float32), boxes, (32, 32))
        writer.finish()
    return folder


@pytest.mark.parametrize("name", ["coco_fc", "coco_att2in", "coco_updown"])
def test_the_three_stages_of_a_recipe_run_on_the_picture_book(book, name):
    for stage in ("", "_scst", "_nsc"):
        experiment = read(name + stage)
        experiment.data, experiment.device = str(book / "book"), "cpu"
        experiment.output = str(book / (name + stage))
        experiment.init_from = str(book / name) if stage else ""
        experiment.loader.features, experiment.loader.num_workers = str(book / "f.h5"), 0
        experiment.encoder = EncoderConfig(backbone="features", weights="none")
        sizes = experiment.decoder
        sizes.embed_dim = sizes.hidden_dim = sizes.attention_dim = 8
        experiment.vocabulary.min_count, experiment.training.num_epochs = 1, 1
        train(experiment, progress=False)
        rows = read_history(book / (name + stage) / "history.jsonl")
        steps = [row for row in rows if row["kind"] == "step"]
        assert len(steps) == 3 and all(row["loss"] == row["loss"] for row in steps)
        assert ("reward" in steps[0]) is bool(stage)
        baseline = experiment.self_critical.baseline if stage else None
        assert (Captioner.load(experiment.output).reward or {}).get("baseline") == baseline
