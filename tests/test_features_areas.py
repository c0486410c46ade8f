"""`features areas`: which cells of a grid each region covers, a file for each picture."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from feature_cases import SIGNATURE, made_up, write_store
from PIL import Image

from captioning.boxes import grid_areas
from captioning.features import areas as module
from captioning.features.areas import boxes_of_store, write_areas
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter


@pytest.fixture
def store(tmp_path):
    """Three pictures with 1 to 6 regions each."""
    return write_store(tmp_path / "f.h5", [3, 1, 2])


@pytest.fixture
def run(run_cli):
    """Run `features areas ...`: exit code, stdout, stderr."""
    return partial(run_cli, "features", "areas")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file_a_picture(run, store, tmp_path):
    output = tmp_path / "areas"
    code, out, _ = run("--store", store, "--output", output, "--grid=3")
    regions = sum(len(made_up(i)[0]) for i in (1, 2, 3))
    assert code == 0 and out.startswith(f"{output}: 3 pictures, {regions} regions on 3 x 3 cells,")
    assert names(output) == ["1.npy", "2.npy", "3.npy"]
    for image_id in (1, 2, 3):
        areas, boxes = np.load(output / f"{image_id}.npy"), made_up(image_id)[1]
        assert areas.dtype == np.float32 and areas.shape == (len(boxes), 9)
        covered = (boxes[:, 2:] - boxes[:, :2]).prod(1)  # of the picture: nine cells
        assert np.allclose(areas.sum(1) / 9, covered, atol=1e-5)
    code, out, err = run("--store", store, "--output", output)
    assert code == 1 and out == "" and "areas: exists already; --overwrite replaces it" in err
    code, out, _ = run("--store", store, "--output", output, "--share=box", "--overwrite", "--json")
    result = json.loads(out)
    assert code == 0 and (result["grid"], result["share"]) == (12, "box")
    areas = np.load(output / "2.npy")
    assert np.allclose(areas.sum(1), 1, atol=1e-5) and areas.shape[1] == 144
    assert np.array_equal(areas, grid_areas(torch.from_numpy(made_up(2)[1]), 12, "box").numpy())
    assert result["bytes"] == sum(path.stat().st_size for path in output.iterdir())


def test_rows_come_first(tmp_path):
    boxes = torch.tensor([[0.0, 0.5, 0.5, 1.0], [0.5, 0.0, 1.0, 0.25]])  # low left, high right
    write_areas([(9, boxes)], 1, tmp_path / "areas", grid=2)
    assert np.load(tmp_path / "areas" / "9.npy").tolist() == [[0, 0, 1, 0], [0, 0.5, 0, 0]]


def test_boxes_in_pixels(run, tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "photos").mkdir()
    for image_id in (7, 11):
        np.save(tmp_path / "box" / f"{image_id}.npy", np.array([[0, 0, 20, 30]]))
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / f"photo_{image_id:06}.png")
    flags = ["--boxes", tmp_path / "box", "--output", tmp_path / "areas", "--grid=2"]
    code, out, err = run(*flags)
    assert code == 1 and out == "" and not (tmp_path / "areas").exists()
    assert "7.npy: the size of the picture is unknown" in err and "--images FOLDER" in err
    assert run(*flags, "--images", tmp_path / "photos")[0] == 0
    assert np.load(tmp_path / "areas" / "11.npy").tolist() == [[1, 0, 1, 0]]


def test_a_folder_is_whole_or_not_there(run, store, tmp_path, monkeypatch):
    output = tmp_path / "areas"
    assert run("--store", store, "--output", output, "--grid=2")[0] == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    real, calls = np.save, []

    def full(path, array):
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        calls.append(path)
        real(path, array)

    monkeypatch.setattr(module.np, "save", full)
    code, _, err = run("--store", store, "--output", output, "--grid=4", "--overwrite")
    assert code == 1 and "areas: could not be written (No space left on device)" in err
    assert len(calls) == 2
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert names(tmp_path) == ["areas", "f.h5"]


def test_places_that_are_taken(run, store, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_text("a photo")
    (photos / "1.npy").write_text("areas")
    code, _, err = run("--store", store, "--output", photos, "--overwrite")
    assert code == 1 and "photos: holds other files than areas (cat.jpg)" in err
    code, _, err = run("--store", store, "--output", store, "--overwrite")
    assert code == 1 and "f.h5: a file, the name of a folder to write expected" in err
    assert FeatureStore(store).image_ids == [3, 1, 2] and len(names(photos)) == 2


def test_boxes_are_never_replaced_by_their_areas(run, store, tmp_path):
    folder = tmp_path / "box"
    folder.mkdir()
    np.save(folder / "7.npy", np.array([[0, 0, 20, 30]], dtype=np.float32))
    flags = ["--boxes", folder, "--output", folder, "--overwrite", "--images", tmp_path]
    code, _, err = run(*flags)
    assert code == 2 and "output: the folder of --boxes received" in err
    code, _, err = run("--store", store, "--output", folder, "--overwrite")
    assert code == 1 and "box: holds other files than areas (7.npy)" in err
    assert np.load(folder / "7.npy").tolist() == [[0, 0, 20, 30]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.float32(3), "boxes of shape () found, (0, 4) expected"),
        (np.zeros((0, 4)), "no box found, 1 or more expected"),
    ],
)
def test_odd_files_of_boxes(run, tmp_path, array, message):
    (tmp_path / "box").mkdir()
    np.save(tmp_path / "box" / "7.npy", array)
    Image.new("RGB", (40, 30)).save(tmp_path / "7.png")
    flags = ["--boxes", tmp_path / "box", "--images", tmp_path, "--output", tmp_path / "areas"]
    code, _, err = run(*flags)
    assert code == 1 and f"7.npy: {message}" in err and "Traceback" not in err


def test_store_without_boxes(run, tmp_path):
    with StoreWriter(tmp_path / "g.h5", SIGNATURE, 4, has_boxes=False) as writer:
        writer.append(1, np.ones((2, 4)))
        writer.finish()
    code, _, err = run("--store", tmp_path / "g.h5", "--output", tmp_path / "areas")
    assert code == 1 and "g.h5: a store without boxes, which areas are computed from" in err
    assert names(tmp_path) == ["g.h5"]
    with pytest.raises(ValueError, match="without boxes"):
        next(boxes_of_store(FeatureStore(tmp_path / "g.h5")))


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ([], "--store and --boxes: neither received, one expected"),
        (["--store=f.h5", "--boxes=b"], "both received, one expected"),
        (["--store=f.h5", "--grid=0"], "grid: 0 received, 1 or more expected"),
        (["--store=f.h5", "--share=half"], "share: 'half' received, cell or box expected"),
        (["--store=f.h5", "--images=i"], "--images: not with --store, whose boxes are relative"),
    ],
)
def test_wrong_usage(run, tmp_path, flags, part):
    code, out, err = run(*flags, "--output", tmp_path / "areas")
    assert code == 2 and out == "" and part in err and err.count("\n") == 1
