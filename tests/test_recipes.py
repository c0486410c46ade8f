"""Recipes: understood, consistent with each other, and faithful to the published schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.commands.train import parser
from captioning.config import Experiment, from_dict
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
