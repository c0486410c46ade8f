"""COCO server files of captioners that say K words at once, from pictures or a store of regions.

The data set has no captions (`images_SPLIT.json`), as COCO's test2014.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_experiment
from decoder_cases import config_of

from captioning.bundle import Captioner
from captioning.features.pictures import list_data
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter

SPLITS = ["val", "test"]


@pytest.fixture
def unlabelled(tiny_data, tmp_path):
    """The pictures of val and test, and nothing said of them."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    for split in SPLITS:
        labelled = data / "annotations" / f"captions_{split}.json"
        record = json.loads(labelled.read_text("utf-8"))
        labelled.unlink()
        record = {"images": record["images"], "annotations": []}
        (data / "annotations" / f"images_{split}.json").write_text(json.dumps(record), "utf-8")
    return data


def make_bundle(data: Path, folder: Path, vocabulary, kind: str, feature_dim: int = 0) -> Path:
    experiment = small_experiment(data, folder / "unused")
    experiment.decoder = config_of(kind)
    if feature_dim:
        experiment.encoder.backbone, experiment.encoder.feature_dim = "features", feature_dim
    torch.manual_seed(1)
    captioner = Captioner.build(experiment, vocabulary)
    if feature_dim:
        captioner.record["features"] = imported_signature("test")
    captioner.save(folder / "bundle")
    return folder / "bundle"


def results_in(target: Path) -> dict[str, list[dict]]:
    with zipfile.ZipFile(target) as file:
        return {name.split("_")[1]: json.loads(file.read(name)) for name in file.namelist()}


@pytest.mark.parametrize("kind", ["transformer plain", "transformer 2", "transformer 6"])
@pytest.mark.parametrize("from_store", [False, True])
def test_the_servers_file(kind, from_store, unlabelled, tiny_vocabulary, tmp_path, run_cli):
    target, more = tmp_path / "results.zip", []
    if from_store:
        more = ["--features", tmp_path / "regions.h5"]
        rng = np.random.default_rng(0)
        with StoreWriter(more[1], imported_signature("test"), 6, False) as writer:
            for picture in list_data(unlabelled, SPLITS):
                writer.append(picture.image_id, rng.random((3, 6), np.float32), None, (32, 32))
            writer.finish()
    bundle = make_bundle(unlabelled, tmp_path, tiny_vocabulary, kind, 6 if from_store else 0)
    flags = ["--model", bundle, "--data", unlabelled, *more, "--split", "val,test"]
    flags += [
        "--submission",
        "groups",
        "--submission_file",
        target,
        "--beam_size",
        3,
        "--min_length",
        3,
    ]
    code, _, err = run_cli("evaluate", *map(str, flags))
    assert code == 0, err
    found = results_in(target)
    assert set(found) == {"val2014", "test2014"}
    for split in SPLITS:
        images = json.loads((unlabelled / "annotations" / f"images_{split}.json").read_text())
        rows = found[f"{split}2014"]
        assert [row["image_id"] for row in rows] == [image["id"] for image in images["images"]]
        assert all(set(row) == {"image_id", "caption"} for row in rows)
        assert all(len(row["caption"].split()) >= 3 for row in rows)
