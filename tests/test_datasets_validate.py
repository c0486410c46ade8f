"""`data validate`: each defect is found, named, and taken as seriously as training takes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from odd_pictures import two_halves, write_bad, write_good

from captioning.datasets.picture_check import look_at_all
from captioning.datasets.validate import Checks, validate_data

QUIET = Checks(min_count=2, progress=False)


def change(data: Path, split: str, edit: Callable[[dict], object]) -> None:
    """Edit the annotation file of a split."""
    path = data / "annotations" / f"captions_{split}.json"
    record = json.loads(path.read_text("utf-8"))
    edit(record)
    path.write_text(json.dumps(record), "utf-8")


def kinds(report: dict, seriousness: str) -> dict[str, int]:
    """Kinds of the errors or warnings, and how many each."""
    return {f"{f['split']} {f['kind']}".strip(): f["count"] for f in report[seriousness]}


def message(report: dict, kind: str) -> str:
    found = [f for f in report["errors"] + report["warnings"] if f["kind"] == kind]
    return found[0]["message"]


def write_info(data: Path, **more: object) -> None:
    counts = {"train": 24, "val": 8, "test": 8}
    (data / "info.json").write_text(json.dumps({"name": "d", "counts": counts} | more))


@pytest.fixture
def data(own_data: Path) -> Path:
    """Without any defect."""
    write_info(own_data)
    for split in ("train", "val", "test"):
        for i, path in enumerate(sorted((own_data / "images").glob(f"{split}_*.png"))):
            with path.open("ab") as file:
                file.write(f"{split} {i}".encode())  # equal drawings become different files
    return own_data


def test_a_sound_data_set(data):
    report = validate_data(data, QUIET)
    assert report["ok"] and report["errors"] == [] and report["warnings"] == []
    train, test = report["splits"]["train"], report["splits"]["test"]
    assert train["pictures"] == 24 and train["captions_per_picture"]["min"] >= 3
    assert train["vocabulary"] <= train["different_words"]
    assert train["words_per_caption"]["max"] == 11
    assert test["coverage"]["known_tokens"] == 1.0 and test["captions_also_in_train"] > 0
    assert json.loads(json.dumps(report)) == report


def test_numbers_by_hand(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    said = {"train": [["A dog.", "A cat!"], ["A dog."]], "val": [["a DOG", "a horse runs", "x"]]}
    for split, pictures in said.items():
        images = [{"id": i, "file_name": f"{split}{i}.png"} for i in range(len(pictures))]
        rows = [(i, text) for i, texts in enumerate(pictures) for text in texts]
        captions = [{"id": n, "image_id": i, "caption": t} for n, (i, t) in enumerate(rows)]
        record = {"images": images, "annotations": captions}
        (tmp_path / "annotations" / f"captions_{split}.json").write_text(json.dumps(record))
        for i in range(len(pictures)):
            (tmp_path / "images" / f"{split}{i}.png").touch()
    splits = validate_data(tmp_path, Checks(fast=True, min_count=2))["splits"]
    assert splits["train"]["captions_per_picture"] == {"min": 1, "median": 1.5, "max": 2}
    assert splits["train"]["words_per_caption"] == {"mean": 2.0, "max": 2}
    assert (splits["train"]["different_words"], splits["train"]["vocabulary"]) == (3, 2)
    assert splits["val"]["captions_also_in_train"] == 1
    # words of val: a dog a horse runs x; train's vocabulary is a, dog
    expected = {"known_tokens": 0.5, "known_words": 0.4, "known_captions": 0.3333}
    assert splits["val"]["coverage"] == expected


# ---- pictures ----


def test_missing_and_unreadable_pictures(data):
    (data / "images" / "val_001.png").unlink()
    (data / "images" / "test_002.png").write_bytes(b"")
    (data / "images" / "train_003.png").write_text("text")
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {
        "train unreadable_picture": 1,  # 1 of 24 is more than 1 %
        "val missing_picture": 1,
        "test unreadable_picture": 1,
    }
    assert message(report, "missing_picture") == "val: missing pictures: 1 (val_001.png)"
    expected = "train: unreadable pictures: 1 (train_003.png: not a picture (content of no known"
    assert message(report, "unreadable_picture").startswith(expected)
    fast = validate_data(data, Checks(fast=True, min_count=2))
    assert kinds(fast, "errors") == {"val missing_picture": 1}


def test_few_unreadable_training_pictures_are_a_warning(data):
    def enlarge(record):
        for i in range(1000, 1100):
            shutil.copy(data / "images" / "train_000.png", data / "images" / f"{i}.png")
            with (data / "images" / f"{i}.png").open("ab") as file:
                file.write(str(i).encode())
            record["images"].append({"id": i, "file_name": f"{i}.png"})
            record["annotations"].append({"id": 10 * i, "image_id": i, "caption": "A red ball"})

    change(data, "train", enlarge)
    write_info(data, counts={"train": 124, "val": 8, "test": 8})
    (data / "images" / "1001.png").unlink()
    report = validate_data(data, QUIET)
    assert report["ok"] and kinds(report, "warnings") == {"train missing_picture": 1}
    (data / "images" / "1002.png").write_bytes(b"")  # 2 of 124 are too many
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {
        "train missing_picture": 1,
        "train unreadable_picture": 1,
    }


def test_every_file_is_opened_as_training_opens_it(tmp_path):
    good = write_good(tmp_path)
    bad = write_bad(tmp_path)
    looks = dict(zip([*good, *bad], look_at_all(tmp_path, [*good, *bad], 1, False), strict=True))
    assert all(not looks[name].problem and not looks[name].missing for name in good)
    assert looks["turned.jpg"].size == (16, 16) and looks["one.png"].size == (1, 1)
    for name, part in bad.items():
        if name in ("missing.jpg", "folder.jpg"):
            assert looks[name].missing
        else:
            assert part in looks[name].problem and looks[name].problem.startswith(name)


def test_processes_give_the_same_in_the_same_order(tmp_path):
    names = [f"{i}.png" for i in range(210)]
    for i, name in enumerate(names):
        two_halves(4 + i % 7, 5).save(tmp_path / name)
    (tmp_path / "33.png").write_bytes(b"")
    looks = list(look_at_all(tmp_path, names, 2, False))
    assert looks == list(look_at_all(tmp_path, names[:200], 2, False)) + looks[200:]
    assert looks[33].problem == "33.png: not a picture (empty file)"
    assert [look.size[0] for look in looks[:3]] == [4, 5, 6]


def test_names_that_lead_out_of_the_folder(data):
    (data / "images" / "train_000.png").rename(data / "train_000.png")
    edit = {"file_name": "../train_000.png"}
    change(data, "train", lambda record: record["images"][0].update(edit))
    report = validate_data(data, QUIET)
    assert report["ok"] and kinds(report, "warnings") == {"train leads_out": 1}


def test_wrong_sizes_are_named(data):
    change(data, "train", lambda record: record["images"][2].update(width=3))
    report = validate_data(data, QUIET)
    assert report["ok"] and kinds(report, "warnings") == {"train wrong_size": 1}
    assert "(train_002.png (" in message(report, "wrong_size")


def test_pictures_shared_by_splits(data):
    images = data / "images"
    shutil.copy(images / "train_004.png", images / "test_000.png")

    def share(record):
        record["images"][1]["file_name"] = "train_005.png"
        record["images"][2]["id"] = 103  # an id of train, for another picture
        record["images"][3] = {"id": 104, "file_name": "train_004.png"}
        for annotation in record["annotations"]:
            changed = {902: 103, 903: 104}
            annotation["image_id"] = changed.get(annotation["image_id"], annotation["image_id"])

    change(data, "test", share)
    report = validate_data(data, QUIET)
    assert report["ok"] and kinds(report, "warnings") | {"test wrong_size": 0} == {
        "test shared_file": 2,
        "test id_of_another": 1,
        "test shared_content": 1,
        "test wrong_size": 0,  # some
    }
    expected = "test: pictures that are in train, too: 2 (train_004.png, train_005.png)"
    assert message(report, "shared_file") == expected
    assert "also in train under another name: 1 (test_000.png (train_004.png))" in message(
        report, "shared_content"
    )


def test_the_same_file_twice_in_a_split(data):
    shutil.copy(data / "images" / "train_004.png", data / "images" / "train_005.png")
    change(data, "train", lambda record: record["images"][6].update(file_name="train_007.png"))
    report = validate_data(data, QUIET)
    warnings = kinds(report, "warnings")
    assert {k for k in warnings if "size" not in k} == {"train content_twice", "train file_twice"}


def test_no_pictures_at_all(data):
    shutil.rmtree(data / "images")
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {f"{s} no_images": 1 for s in ("train", "val", "test")}
    write_info(data, pictures="none")  # meant so
    report = validate_data(data, QUIET)
    assert report["ok"] and len(report["warnings"]) == 3


def test_a_feature_store_takes_the_pictures_place(data, tmp_path):
    shutil.rmtree(data / "images")
    ids = [*range(100, 124), *range(500, 508), *range(900, 907)]
    store = tmp_path / "f.h5"
    with h5py.File(store, "w") as file:
        file.attrs.update(format=1, signature="{}")
        file["image_ids"], file["offsets"] = ids, [*range(len(ids) + 1)]
        file["regions"] = np.ones((len(ids), 2), "float32")
        file["sizes"] = [[0, 0]] * len(ids)
    report = validate_data(data, Checks(min_count=2, features=str(store), progress=False))
    assert kinds(report, "errors") == {"test not_in_store": 1}
    assert message(report, "not_in_store").endswith("ids: 1 (907)")
    with pytest.raises(FileNotFoundError, match="no such feature store"):
        validate_data(data, Checks(features="nowhere.h5"))


def test_pictures_in_shards_are_not_looked_for(data):
    (data / "shards" / "train").mkdir(parents=True)
    (data / "shards" / "train" / "index.json").write_text("{}")
    for path in (data / "images").glob("train_*.png"):
        path.unlink()
    report = validate_data(data, QUIET)
    assert report["ok"] and kinds(report, "warnings") == {"train in_shards": 1}


# ---- captions ----


def test_what_captions_can_lack(data):
    def spoil(record):
        texts = ["...", "Dog", "one two three four five six seven eight nine ten", "caf\ufffd here"]
        texts += ["A &amp; B", "a red ball", "the dog the dog", "the dog the dog."]
        for annotation, text in zip(record["annotations"], texts, strict=False):
            annotation["caption"] = text
        gone = record["images"][20]["id"]
        record["annotations"] = [a for a in record["annotations"] if a["image_id"] != gone]

    change(data, "train", spoil)
    report = validate_data(data, Checks(min_count=2, max_length=9, progress=False))
    warnings = kinds(report, "warnings")
    long = warnings.pop("train too_long")
    assert report["ok"] and long >= 1
    assert {k: n for k, n in warnings.items() if k.startswith("train")} == {
        "train wordless": 1,
        "train one_word": 1,
        "train odd_characters": 2,
        "train repeated": 1,
        "train no_caption": 1,
    }
    assert "more than 9 words" in message(report, "too_long")


def test_pictures_without_captions_stop_validation_and_evaluation(data):
    change(data, "val", lambda r: r["annotations"].__delitem__(slice(0, 3)))
    change(data, "test", lambda r: r["annotations"].clear())
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {"val no_caption": 1, "test no_captions": 1}
    assert message(report, "no_caption") == "val: pictures without a caption: 1 (val_000.png)"


def test_words_that_train_does_not_know(data):
    def rename(record):
        for annotation in record["annotations"]:
            annotation["caption"] = "Zwei Hunde laufen"

    change(data, "test", rename)
    report = validate_data(data, QUIET)
    assert report["splits"]["test"]["coverage"]["known_tokens"] == 0
    assert message(report, "low_coverage") == "test: train's vocabulary knows only 0% of the words"
    report = validate_data(data, Checks(min_count=1000, progress=False))
    assert kinds(report, "errors") == {"train no_vocabulary": 1}


# ---- files ----


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (lambda r: r["images"].append(dict(r["images"][0])), "duplicate_image_id"),
        (lambda r: r["annotations"].append(dict(r["annotations"][0])), "duplicate_caption_id"),
        (lambda r: r["annotations"][0].update(image_id=77), "unknown_image"),
        (lambda r: r["annotations"][0].update(caption=None), "bad_caption_entry"),
        (lambda r: r["annotations"][0].pop("id"), "bad_caption_entry"),
        (lambda r: r["annotations"].append(3), "bad_caption_entry"),
        (lambda r: r["images"][0].update(file_name=None), "bad_image_entry"),
        (lambda r: r["images"][0].update(id=[1]), "bad_image_entry"),
        (lambda r: r["images"][0].update(id="100"), "mixed_ids"),
        (lambda r: r["images"].clear(), "no_pictures"),
        (lambda r: r.pop("annotations"), "not_a_caption_file"),
    ],
)
def test_entries_that_stop_training(data, edit, kind):
    change(data, "train", edit)
    report = validate_data(data, QUIET)
    assert not report["ok"] and f"train {kind}" in kinds(report, "errors")


@pytest.mark.parametrize("text", ["", "{", "[]", "{'a': 1}", "\udcff"])
def test_files_that_are_no_annotations(data, text):
    path = data / "annotations" / "captions_val.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {"val not_a_caption_file": 1}
    assert "captions_val.json" in message(report, "not_a_caption_file")


def test_splits_that_are_not_there(data):
    folder = data / "annotations"
    (folder / "captions_test.json").unlink()
    (folder / "captions_val.json").rename(folder / "images_val.json")
    report = validate_data(data, QUIET)
    assert kinds(report, "errors") == {"no_val": 1}
    assert kinds(report, "warnings") == {"no_test": 1, "bad_info": 1}
    shutil.rmtree(folder)
    for path in (data, data / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no data set here"):
            validate_data(path, QUIET)


def test_info_that_is_missing_or_wrong(data):
    write_info(data, counts={"train": 3})
    assert kinds(validate_data(data, QUIET), "warnings") == {"bad_info": 1}
    (data / "info.json").write_text("[")
    assert kinds(validate_data(data, QUIET), "warnings") == {"bad_info": 1}
    (data / "info.json").unlink()
    assert kinds(validate_data(data, QUIET), "warnings") == {"no_info": 1}
