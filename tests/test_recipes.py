"""Recipes: understood, consistent with each other, and faithful to the published schedules."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.bundle import Captioner
from captioning.commands import distill, features
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


@functools.cache
def parse(name: str) -> dict[str, Any]:
    record = parser().parse_args(["--config", str(ROOT / "recipes" / f"{name}.yaml")]).as_dict()
    return {key: record[key] for key in vars(Experiment())}


def read(name: str) -> Experiment:
    return from_dict(Experiment, parse(name))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_understood_and_says_how_to_run_it(path):
    experiment = read(path.stem)
    text = path.read_text("utf-8")
    assert text.startswith("# ") and f"train --config recipes/{path.name}" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    if path.stem.startswith("coco_"):
        assert experiment.output == f"models/{path.stem}" and "CIDEr" in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_store_can_be_made_as_a_recipe_says(path):
    head = path.read_text("utf-8").replace("\\\n", "").replace("\n#", "\n").replace("#", "")
    typed = re.findall(r"features ([a-z-]+ --.+)", head)
    store = read(path.stem).loader.features
    assert typed or not store or "Starts from" in head
    for words in typed:
        flags = features.parser().parse_args(words.split())
        assert flags[flags.kind].output == store


STAGES = {
    "coco_fc": ("_scst", "_nsc"),
    "coco_att2in": ("_scst", "_nsc"),
    "coco_updown": ("_scst", "_nsc"),
    "coco_transformer": ("_scst", "_nsc"),
    "coco_object_relation": ("_scst",),
    "coco_spatial": ("_scst",),
    **{f"coco_satic_k{size}": ("_nsc",) for size in (2, 4, 6)},
}
SATIC = [path.stem for path in RECIPES if re.search(r"_satic_k\d$", path.stem)]


def test_the_stages_of_every_decoder():
    assert sorted(COCO) == sorted(f"{n}{stage}" for n in STAGES for stage in ("", *STAGES[n]))
    kinds = {"fc", "att2in2", "updown", "transformer"}
    assert {read(name).decoder.kind for name in COCO} == kinds
    options = [read(name).decoder.transformer for name in ("coco_object_relation", "coco_spatial")]
    assert [one.relations for one in options] == [True, False]
    assert [one.position for one in options] == ["none", "gxg"]
    assert [one.cross_attention for one in options] == ["dot_product", "x_linear"]


@pytest.mark.parametrize("name", [name for name in COCO if name.endswith(("_scst", "_nsc"))])
def test_the_second_stage_fits_the_first(name):
    second = read(name)
    first = read(Path(second.init_from).name)
    check_same_architecture(second, first)
    assert first.output == second.init_from
    assert second.loader.features == first.loader.features
    assert second.vocabulary.max_length == first.vocabulary.max_length
    baseline = {"scst": "greedy", "nsc": "leave_one_out"}[name.rpartition("_")[2]]
    assert second.self_critical.baseline == baseline
    rate, schedule = second.training.learning_rate, second.training.schedule
    if second.decoder.kind == "transformer":
        assert 5e-6 <= rate <= 2e-5 and schedule in ("constant", "plateau")
        assert second.training.adam_beta2 == first.training.adam_beta2 == 0.98
    else:
        assert schedule == "constant" and rate == 5e-5


@pytest.mark.parametrize("name", SATIC)
def test_words_in_groups_as_published(name):
    """Zhou et al. 2021: initial weights, distilled captions, then reward on people's captions."""
    first = read(name)
    second = read(f"{name}_nsc" if name.startswith("coco") else f"{name}_scst")
    assert first.decoder.transformer.group_size == int(name[-1])
    assert first.training.objective == "cross_entropy" and first.training.label_smoothing == 0
    if name.startswith("coco"):
        teacher = read(Path(first.init_from).name)
        assert teacher.output == first.init_from and teacher.training.objective == "reinforce"
        assert (first.training.num_epochs, first.training.warmup_steps) == (15, 20_000)
        assert (second.training.num_epochs, second.training.learning_rate) == (25, 1e-5)
        assert second.training.schedule == "constant"
    else:
        teacher = Captioner.load(ROOT / first.init_from).experiment
        first.encoder.feature_dim = teacher.encoder.feature_dim  # the run reads it from the store
        assert second.init_from == first.output
        second.encoder.feature_dim = first.encoder.feature_dim
        check_same_architecture(second, first)
    check_same_architecture(first, teacher)
    assert teacher.decoder.transformer.group_size == 1
    assert second.decoder == first.decoder and not second.train_captions
    assert (
        second.self_critical.baseline == "leave_one_out" and second.self_critical.num_samples == 5
    )


@pytest.mark.parametrize("name", SATIC)
def test_distilled_captions_can_be_made_as_a_recipe_says(name):
    text = (ROOT / "recipes" / f"{name}.yaml").read_text("utf-8")
    (typed,) = re.findall(r"captioning distill (--.+)", text.replace(" \\\n#  ", ""))
    flags, experiment = distill.parser().parse_args(typed.split()), read(name)
    assert (flags.model, flags.data) == (experiment.init_from, experiment.data)
    assert flags.features == experiment.loader.features and flags.beam_size == 5
    assert flags.split == "train" and f"train_captions: {flags.output}\n" in text


@pytest.mark.parametrize("name", [n for n in STAGES if read(n).training.schedule == "noam"])
def test_the_peak_of_noam_is_the_published_one(name):
    """Vaswani et al. 2017, equation 3, where the rise ends."""
    experiment = read(name)
    settings, width = experiment.training, experiment.decoder.transformer.model_dim
    peak = width**-0.5 * settings.warmup_steps**-0.5
    assert settings.learning_rate == pytest.approx(peak, rel=1e-3)
    epochs = settings.warmup_steps * experiment.loader.batch_size / 113_287  # pictures of train
    assert epochs < settings.num_epochs / 5


@pytest.mark.parametrize("name", COCO)
def test_the_store_of_a_recipe_is_named_after_its_regions(name):
    experiment = read(name)
    store, encoder = Path(experiment.loader.features).stem, experiment.encoder
    made_elsewhere = encoder.backbone == "features"
    assert store == ("regions" if made_elsewhere else f"{encoder.backbone}_grid{encoder.grid}")
    assert made_elsewhere == (experiment.decoder.kind == "transformer")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A small picture book with a store of made-up features, and room for the runs."""
    folder = tmp_path_factory.mktemp("recipes")
    write_picturebook(folder / "book", train=24, val=4, test=2, image_size=32, workers=1)
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "f.h5", imported_signature("test"), 6, True) as writer:
        for picture in list_data(folder / "book", list_splits(folder / "book")):
            boxes = np.array([[0, 0, 0.5, 1], [0.4, 0.1, 1, 1], [0.3, 0.3, 0.6, 0.6]], np.float32)
            writer.append(picture.image_id, rng.random((3, 6), np.float32), boxes, (32, 32))
        writer.finish()
    return folder


def shrink(experiment: Experiment) -> None:
    """Sizes and a warm-up for a run of two or three steps."""
    decoder = experiment.decoder
    decoder.embed_dim = decoder.hidden_dim = decoder.attention_dim = 8
    sizes = decoder.transformer
    sizes.model_dim = sizes.feedforward_dim = 16
    sizes.num_heads, sizes.encoder_layers, sizes.num_layers = 2, 1, 1
    sizes.position_grid = 3
    settings = experiment.training
    settings.num_epochs, settings.warmup_steps = 1, min(1, settings.warmup_steps)
    experiment.vocabulary.min_count = 1


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_of_a_recipe_run_on_the_picture_book(book, name):
    for stage in ("", *STAGES[name]):
        experiment = read(name + stage)
        experiment.data, experiment.device = str(book / "book"), "cpu"
        experiment.output = str(book / (name + stage))
        experiment.init_from = str(book / name) if stage else ""
        if experiment.train_captions:
            experiment.train_captions = str(book / "book" / "annotations" / "captions_train.json")
        experiment.loader.features, experiment.loader.num_workers = str(book / "f.h5"), 0
        experiment.encoder = EncoderConfig(backbone="features", weights="none")
        shrink(experiment)
        train(experiment, progress=False)
        rows = read_history(book / (name + stage) / "history.jsonl")
        steps = [row for row in rows if row["kind"] == "step"]
        assert len(steps) == math.ceil(24 / experiment.loader.batch_size)
        assert all(row["loss"] == row["loss"] for row in steps)
        assert ("reward" in steps[0]) is bool(stage)
        baseline = experiment.self_critical.baseline if stage else None
        assert (Captioner.load(experiment.output).reward or {}).get("baseline") == baseline
