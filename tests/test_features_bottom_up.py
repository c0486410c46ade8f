"""`features import-bottom-up`: the published regions, with sizes from wherever they are known."""

from __future__ import annotations

import base64
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from captioning.features.picture_sizes import find_numbered, read_file_sizes, size_of_file
from captioning.features.store import FeatureStore

SIZES = {7: (40, 30), 12: (64, 48)}
BOXES = {7: [[0, 0, 20, 30], [10, 15, 40, 30]], 12: [[16, 12, 32, 24]]}
FRACTIONS = {7: [[0, 0, 0.5, 1], [0.25, 0.5, 1, 1]], 12: [[0.25, 0.25, 0.5, 0.5]]}


def regions(image_id):
    return np.arange(len(BOXES[image_id]) * 4, dtype=np.float32).reshape(-1, 4) + image_id


@pytest.fixture
def prefix(tmp_path):
    """Folders as make_bu_data writes them: `bu_att`, `bu_fc`, `bu_box`."""
    for name in ("att", "fc", "box"):
        (tmp_path / f"bu_{name}").mkdir()
    for image_id, boxes in BOXES.items():
        np.savez_compressed(tmp_path / "bu_att" / f"{image_id}.npz", feat=regions(image_id))
        np.save(tmp_path / "bu_fc" / f"{image_id}.npy", regions(image_id).mean(0))
        np.save(tmp_path / "bu_box" / f"{image_id}.npy", np.array(boxes, np.float32))
    return tmp_path / "bu"


@pytest.fixture
def tsv(tmp_path):
    """The same as a TSV file."""
    lines = []
    for image_id, boxes in BOXES.items():
        arrays = np.array(boxes, np.float32), regions(image_id)
        texts = [base64.b64encode(array.tobytes()).decode() for array in arrays]
        lines.append("\t".join(map(str, [image_id, *SIZES[image_id], len(boxes), *texts])))
    (tmp_path / "trainval.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "trainval.tsv"


@pytest.fixture
def photos(tmp_path):
    """The pictures, named as COCO names its own."""
    for image_id, size in SIZES.items():
        folder = tmp_path / "photos" / f"set{image_id}"
        folder.mkdir(parents=True)
        Image.new("RGB", size).save(folder / f"COCO_val2014_{image_id:012}.png")
        (folder / f"{image_id}.txt").write_text("not a picture")
    return tmp_path / "photos"


@pytest.fixture
def run(run_cli, tmp_path):
    """Run `features import-bottom-up --output f.h5 ...`: exit code, stdout, stderr."""
    return partial(run_cli, "features", "import-bottom-up", "--output", tmp_path / "f.h5")


def assert_imported(path, image_ids=(7, 12)):
    store = FeatureStore(path)
    assert store.image_ids == [*image_ids]
    for image_id in image_ids:
        values, boxes = store.read(image_id)
        assert np.array_equal(values.numpy(), regions(image_id))
        assert torch.allclose(boxes, torch.tensor(FRACTIONS[image_id]).float())
        assert store.size_of(image_id) == SIZES[image_id]
    return store.signature["encoder"]


def write_data(folder, sizes):
    """A data set of these pictures; a size of None is not noted."""
    (folder / "annotations").mkdir(parents=True)
    images = [{"id": i, "file_name": f"set{i}/COCO_val2014_{i:012}.png"} for i in sizes]
    for image, size in zip(images, sizes.values(), strict=True):
        image |= {"width": size[0], "height": size[1]} if size else {}
    record = json.dumps({"images": images, "annotations": []})
    (folder / "annotations" / "images_val.json").write_text(record)
    return folder


def test_tsv_and_folders_give_the_same_store(run, prefix, tsv, photos, tmp_path):
    assert run("--tsv", tsv)[0] == 0
    made_by = assert_imported(tmp_path / "f.h5")
    assert made_by == {"backbone": "features", "source": "bottom_up"}
    assert run("--folder", prefix, "--images", photos, "--overwrite")[0] == 0
    assert assert_imported(tmp_path / "f.h5") == made_by


def test_sizes_of_annotations(run, prefix, photos, tmp_path):
    noted = write_data(tmp_path / "noted", {12: SIZES[12]})
    assert run("--folder", prefix, "--data", noted)[0] == 0
    assert_imported(tmp_path / "f.h5", [12])  # the pictures of the data set only
    partly = write_data(tmp_path / "partly", {7: None, 12: SIZES[12]})
    code, _, err = run("--folder", prefix, "--data", partly, "--overwrite")
    assert code == 1 and "bu_box/7.npy: the size of the picture is unknown" in err
    assert run("--folder", prefix, "--data", partly, "--images", photos, "--overwrite")[0] == 0
    assert_imported(tmp_path / "f.h5")


def test_unknown_sizes_are_refused_in_one_sentence(run, prefix, tmp_path):
    code, out, err = run("--folder", prefix)
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "7.npy: the size of the picture is unknown, which boxes in pixels need" in err
    assert "--data DATA (noted in its annotations) or --images FOLDER (read from the files)" in err
    assert not (tmp_path / "f.h5").exists() and not (tmp_path / "f.h5.part").exists()


def test_pictures_that_do_not_tell_their_size(run, prefix, photos, tmp_path):
    flags = ["--folder", prefix, "--images", photos]
    picture = photos / "set7" / "COCO_val2014_000000000007.png"
    picture.write_bytes(picture.read_bytes()[:20])
    code, _, err = run(*flags)
    assert code == 1 and "000000000007.png: not a picture whose size can be read" in err
    picture.unlink()
    code, _, err = run(*flags)
    assert (
        code == 1 and "photos: no file for 1 of 2 pictures, the first is 7; names that end" in err
    )
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_numbered(tmp_path / "nowhere", [1])
    Image.new("RGB", (5, 5)).save(photos / "12.png")
    with pytest.raises(ValueError, match="000000000012.png: picture 12 is .*photos/12.png as well"):
        find_numbered(photos, [12])


def test_pictures_that_lie_on_their_side(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "1.jpg", exif=exif)
    Image.new("RGB", (40, 30)).save(tmp_path / "2.jpg")
    assert size_of_file(tmp_path / "1.jpg") == (30, 40)
    paths = find_numbered(tmp_path, [1, 2])
    assert read_file_sizes(paths) == {1: (30, 40), 2: (40, 30)}


@pytest.mark.parametrize("kind", ["att", "box"])
def test_missing_folders(run, prefix, photos, kind):
    prefix.with_name(f"bu_{kind}").rename(prefix.with_name("moved"))
    code, _, err = run("--folder", prefix, "--images", photos)
    assert code == 1 and f"bu_{kind}: no such folder" in err and err.count("\n") <= 2


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ([], "--folder and --tsv: neither received, one of the two expected"),
        (["--folder=a", "--tsv=b"], "--folder and --tsv: both received"),
        (["--tsv=a", "--images=b"], "--images: not with --tsv, whose lines hold the sizes"),
        (["--tsv=a", "--dtype=int8"], "dtype: 'int8' received"),
    ],
)
def test_wrong_usage(run, flags, part):
    code, out, err = run(*flags)
    assert code == 2 and out == "" and part in err and err.count("\n") == 1
