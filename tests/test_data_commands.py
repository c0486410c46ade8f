"""The kinds of `data` that convert and check: exit codes, output, one sentence an error."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import karpathy_coco, write_json, write_labels
from odd_pictures import two_halves

from captioning.commands.data import KINDS
from captioning.features.store import FeatureStore


@pytest.fixture
def run(run_cli):
    """Run `data ...`: exit code, stdout, stderr."""
    return partial(run_cli, "data")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for i in range(10):
        two_halves(16 + i, 16).save(folder / f"{i}.jpg")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_help_of_every_kind(run, kind):
    code, out, err = run(kind, "--help")
    assert code == 0 and err == "" and "usage: " in out


def test_a_table_becomes_a_data_set_that_is_sound(run, photos, tmp_path):
    rows = [f"{i}.jpg,A thing {i % 3}\n{i}.jpg,Colours\n" for i in range(10)]
    (photos / "table.csv").write_text("image,caption\n" + "".join(rows) + "3.jpg,\n")
    output = tmp_path / "data"
    code, out, err = run("table", photos / "table.csv", "--output", output, "--seed", 1)
    assert code == 0 and err == "1 row left out, without a caption: line 22\n"
    info = json.loads(out)
    assert info["counts"] == {"train": 8, "val": 1, "test": 1} and info["name"] == "data"
    assert info["source"] == "table.csv" and info == json.loads((output / "info.json").read_text())

    code, out, err = run("validate", output, "--min_count", 2)
    assert code == 0 and err == ""
    assert "  train: 8 pictures, 16 captions (2 to 2 a picture, median 2)" in out
    assert out.endswith("; nothing here stops a run\n")
    next((output / "images").glob("*.jpg")).write_bytes(b"")
    code, out, err = run("validate", output, "--json")
    report = json.loads(out)
    assert code == 1 and err == "" and not report["ok"]
    assert report["errors"][0]["kind"] == "unreadable_picture"

    again = ["table", photos / "table.csv", "--output", output]
    code, out, err = run(*again)
    assert code == 1 and out == "" and "holds info.json already; --overwrite" in err
    assert run(*again, "--overwrite", "--pictures", "copy")[0] == 0
    assert not (output / "images").is_symlink()


def test_table_with_named_columns(run, photos, tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("pic\tone\ttwo\tpart\tnr\n0.jpg\tA\tB\ttrain\t5\n1.jpg\tC\tD\tdev\t6\n")
    columns = ["--image_column=pic", "--caption_columns=one, two", "--split_column=part"]
    code, out, _ = run(
        "table", path, "--images", photos, "--output", tmp_path / "d", *columns, "--id_column=nr"
    )
    assert code == 0 and json.loads(out)["captions"] == {"train": 2, "val": 2}
    path.write_text(f"image,caption\n{photos}/0.jpg,A\n1.jpg,B\n2.jpg,C\n")  # a whole path is fine
    code, _, _ = run("table", path, "--images", photos, "--output", tmp_path / "f")
    record = json.loads((tmp_path / "f" / "annotations" / "captions_train.json").read_text())
    assert code == 0 and len(record["images"]) == 1 and "/" not in record["images"][0]["file_name"]
    path.write_text("pic\tone\ttwo\tpart\tnr\n0.jpg\tA\tB\ttrain\t5\n")
    code, out, err = run("table", path, "--output", tmp_path / "e", "--image_column=photo")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "no picture column 'photo' in it (columns: ['pic', 'one', 'two', 'part', 'nr'])" in err


def test_folder_and_flickr(run, photos, tmp_path):
    for i in range(10):
        (photos / f"{i}.txt").write_text(f"Thing {i}.\n")
    flags = ["--name", "things", "--licence", "CC0"]
    code, out, err = run("folder", photos, "--output", tmp_path / "d", *flags)
    info = json.loads(out)
    assert code == 0 and err == "" and (info["name"], info["licence"]) == ("things", "CC0")

    tokens = tmp_path / "f.token"
    tokens.write_text("".join(f"{i}.jpg#0\tThing {i} .\n" for i in range(10)))
    (tmp_path / "train.txt").write_text("0.jpg\n1.jpg\n")
    known = ["flickr", tokens, "--images", photos, "--output", tmp_path / "f"]
    code, out, err = run(*known, "--train_list", tmp_path / "train.txt")
    info = json.loads(out)
    assert code == 0 and "8 pictures left out, in no split list" in err
    assert info["counts"] == {"train": 2} and "non-commercial" in info["licence"]
    code, _, err = run(*known, "--test_list", tmp_path / "train.txt")
    assert code == 2 and "train_list: none received, but others" in err
    code, _, err = run(*known, "--val", "1.5")
    assert code == 2 and "val: 1.5 received, a share of 0 to 1 expected" in err


def test_karpathy_with_missing_pictures(run, tmp_path):
    file = write_json(tmp_path / "dataset_coco.json", karpathy_coco())
    for image in karpathy_coco()["images"][:4]:
        (tmp_path / image["filepath"]).mkdir(exist_ok=True)
        two_halves().save(tmp_path / image["filepath"] / image["filename"])
    known = ["karpathy", file, "--images", tmp_path, "--output", tmp_path / "d"]
    code, out, err = run(*known)
    assert code == 1 and out == "" and "1 of 5 pictures are not there, e.g. train2014/COCO" in err
    code, out, err = run(*known, "--allow_missing")
    assert code == 0 and err.startswith("1 picture left out, not there: train2014/")
    assert json.loads(out)["counts"] == {"train": 2, "val": 1, "test": 1}


def test_labels_with_features(run, tmp_path):
    file, labels = write_labels(tmp_path)
    for folder in ("att", "fc"):
        (tmp_path / folder).mkdir()
    for number in (42, 7, 8):
        np.savez(tmp_path / "att" / f"{number}.npz", feat=np.full((3, 4), number, "float32"))
        np.save(tmp_path / "fc" / f"{number}.npy", np.zeros(4, "float32"))
    output = tmp_path / "d"
    known = ["cocotalk", file, labels, "--output", output]
    code, out, err = run(*known, "--att", tmp_path / "att", "--fc", tmp_path / "fc")
    info = json.loads(out)
    assert code == 0 and info["features"]["pictures"] == 3 and info["pictures"] == "none"
    assert "3 unknown words are written unk1 to unk3" in err
    store = FeatureStore(output / "features.h5")
    assert store.size_of(42) == (640, 480) and store.read(7)[0].shape == (3, 4)
    code, out, _ = run(
        "validate", output, "--features", output / "features.h5", "--min_count", 1, "--json"
    )
    assert code == 0 and json.loads(out)["ok"]
    code, _, err = run(*known, "--att", tmp_path / "att")
    assert code == 1 and "holds info.json already" in err
    code, _, err = run(*known, "--box", tmp_path / "att")
    assert code == 2 and "att, fc: none received" in err


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["table"], 2, "file"),
        (["table", "t.csv"], 2, "output"),
        (["table", "none.csv", "--output", "d"], 1, "none.csv: no such file"),
        (["folder", "none", "--output", "d"], 1, "none: no such folder"),
        (["karpathy", "none.json", "--images", ".", "--output", "d"], 1, "no such Karpathy split"),
        (["flickr", "none", "--images", ".", "--output", "d"], 1, "none: no such file"),
        (["cocotalk", "none.json", "--output", "d"], 1, "none.json: no such cocotalk JSON file"),
        (["validate", "none"], 1, "none: no data set here"),
        (["validate", "none", "--min_count", "0"], 2, "min_count: 0 received, 1 or more expected"),
        (["validate", "none", "--workers", "-1"], 2, "workers: -1 received, 0 or more expected"),
        (["karpathy", "x", "--images", ".", "--output", "d", "--pictures", "move"], 2, "pictures"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(run, tmp_path, monkeypatch, arguments, code, part):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*arguments)
    assert found == code and out == "" and part in err and err.count("\n") == 1
    assert not (tmp_path / "d").exists()
