"""`data coco` on a COCO of eighteen pictures, from a server that breaks off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from coco_cases import coco_server, cut, ids_of, request_of  # noqa: F401 (fixture `server`)
from mini_coco import (
    CATEGORIES,
    TRAIN,
    VAL,
    archives,
    name_of,
    numbers_of,
    picture,
    zipped,
)

from captioning.datasets.coco import CORRUPT, prepare
from captioning.datasets.coco_parts import Request
from captioning.datasets.instances import load_instances
from captioning.evaluation.pointing import read_boxes
from data_loader import open_image, read_annotations

ROOT = Path(__file__).parent.parent


def test_karpathys_split(server, tmp_path):
    server.faults["zips/train2014.zip"] = [("break", 1500), ("status", 503)]
    output = tmp_path / "coco"
    info = prepare(request_of(server, output))
    assert info == json.loads((output / "info.json").read_text("utf-8"))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert info["captions"] == {"train": 50, "val": 15, "test": 10}
    assert (info["name"], info["version"], info["split"]) == ("coco", "2014", "karpathy")
    assert info["folders"] == ["train2014", "val2014"] and info["notes"] == []
    assert sorted(path.name for path in output.iterdir()) == ["annotations", "images", "info.json"]
    assert ids_of(output, "train") == numbers_of("train", "restval")
    assert ids_of(output, "val") == numbers_of("val") and ids_of(output, "test") == set(VAL[7:])
    captions = read_annotations(output, "val").imgToAnns[104]
    assert [one["caption"] for one in captions] == [f"A Man (no. 104), said {i}." for i in range(5)]
    for split in ("train", "val", "test"):
        for row in read_annotations(output, split).dataset["images"]:
            assert open_image(output / "images" / row["file_name"]).size == (24, 18)
            assert (row["width"], row["height"]) == (24, 18)


def test_instances_are_reduced(server, tmp_path):
    prepare(request_of(server, tmp_path / "coco", parts=("annotations",)))
    for split, numbers in {
        "train": numbers_of("train", "restval"),
        "val": numbers_of("val"),
        "test": numbers_of("test"),
    }.items():
        path = tmp_path / "coco" / "annotations" / f"instances_{split}.json"
        coco = load_instances(path)
        assert set(coco.imgs) == numbers
        assert {one["image_id"] for one in coco.anns.values()} == numbers - {30}
        assert all("segmentation" not in one for one in coco.anns.values())
        assert coco.dataset["categories"] == CATEGORIES
        assert all(
            boxes == {"dog" if number % 2 else "person": [(0.25, 0.5, 0.75, 1.0)]} or number == 30
            for number, boxes in read_boxes(path).items()
        )


def test_the_official_split(server, tmp_path):
    output = tmp_path / "coco"
    info = prepare(request_of(server, output, split="official"))
    assert info["counts"] == {"train": 6, "val": 9, "test": 3}
    assert ids_of(output, "train") == set(TRAIN) and ids_of(output, "val") == set(VAL)
    names = {path.name for path in (output / "annotations").iterdir()}
    assert names == {
        *("captions_train.json", "captions_val.json", "images_test.json"),
        *("instances_train.json", "instances_val.json"),
    }
    for row in read_annotations(output, "test").dataset["images"]:
        open_image(output / "images" / row["file_name"])
    assert not any("caption_datasets" in path for path, _ in server.asked)


def test_the_release_of_2017(server, tmp_path):
    info = prepare(request_of(server, tmp_path / "k", year=2017))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2} and info["version"] == "2017"
    assert ids_of(tmp_path / "k", "train") == numbers_of("train", "restval")
    for split in info["counts"]:
        for row in read_annotations(tmp_path / "k", split).dataset["images"]:
            open_image(tmp_path / "k" / "images" / row["file_name"])
    instances = load_instances(tmp_path / "k" / "annotations" / "instances_test.json")
    assert set(instances.imgs) == numbers_of("test") and len(instances.anns) == 2
    info = prepare(request_of(server, tmp_path / "o", year=2017, split="official"))
    assert info["counts"] == {"train": 13, "val": 2, "test": 3}
    with pytest.raises(FileExistsError, match="holds the data set 'coco 2017'"):
        prepare(request_of(server, tmp_path / "k"))


def test_the_same_call_again_asks_nobody(server, tmp_path):
    first = prepare(request_of(server, tmp_path))
    asked = len(server.asked)
    assert prepare(request_of(server, tmp_path)) == first
    assert prepare(request_of(server, tmp_path, parts=("annotations",))) == first
    assert len(server.asked) == asked


def test_another_split_replaces_the_annotations_only(server, tmp_path):
    prepare(request_of(server, tmp_path))
    with pytest.raises(FileExistsError, match="holds the karpathy split; --overwrite"):
        prepare(request_of(server, tmp_path, split="official"))
    server.asked.clear()
    settings = {"split": "official", "parts": ("train_images", "val_images"), "overwrite": True}
    info = prepare(request_of(server, tmp_path, **settings))
    assert not any(path.startswith("zips/") for path, _ in server.asked)
    assert info["counts"] == {"train": 6, "val": 9}
    assert info["notes"] == ["3 pictures of test2014 left out, not fetched"]
    names = {path.name for path in (tmp_path / "annotations").iterdir()}
    assert "captions_test.json" not in names and "instances_test.json" not in names


def test_pictures_can_follow_later(server, tmp_path):
    info = prepare(request_of(server, tmp_path, parts=("annotations",)))
    assert info["counts"]["train"] == 10 and info["pictures"] == "none"
    info = prepare(request_of(server, tmp_path, parts=("val_images",)))
    assert info["counts"] == {"train": 4, "val": 3, "test": 2}
    assert info["notes"] == ["6 pictures of train2014 left out, not fetched"]
    info = prepare(request_of(server, tmp_path))
    assert info["counts"]["train"] == 10 and info["notes"] == []
    (tmp_path / "images" / "val2014" / name_of("val", VAL[0])).unlink()
    prepare(request_of(server, tmp_path))
    open_image(tmp_path / "images" / "val2014" / name_of("val", VAL[0]))


def test_archives_can_be_kept(server, tmp_path):
    prepare(request_of(server, tmp_path, keep_archives=True))
    names = {path.name for path in (tmp_path / "downloads").iterdir()}
    assert names == {
        *("train2014.zip", "val2014.zip"),
        *("annotations_trainval2014.zip", "caption_datasets.zip"),
    }
    asked = len(server.asked)
    shutil.rmtree(tmp_path / "images")
    prepare(request_of(server, tmp_path))
    assert len(server.asked) == asked and not (tmp_path / "downloads").exists()


# --- parts that are there ----------------------------------------------------------------------


def test_every_part_can_be_a_local_file(tmp_path):
    here = tmp_path / "here"
    for path, content in archives().items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(content)
    local = {
        "karpathy": here / "caption_datasets.zip",
        "annotations": here / "annotations" / "annotations_trainval2014.zip",
        "train_images": here / "zips" / "train2014.zip",
        "val_images": here / "zips" / "val2014.zip",
    }
    info = prepare(
        Request(tmp_path / "a", local=local, mirror="http://127.0.0.1:1", progress=False)
    )
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert all(path.is_file() for path in local.values())  # nothing of the user's is removed
    for path in local.values():
        shutil.unpack_archive(path, here / "open")
    local |= {"karpathy": here / "open" / "dataset_coco.json", "annotations": here / "open"}
    local |= {"train_images": here / "open", "val_images": here / "open" / "val2014"}
    info = prepare(Request(tmp_path / "b", local=local, progress=False))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert (tmp_path / "b/images/train2014").resolve() == here / "open" / "train2014"
    assert prepare(Request(tmp_path / "b", local=local, progress=False)) == info
    # an archive in place of a linked folder is not unpacked into that folder
    zips = local | {"train_images": here / "zips" / "train2014.zip"}
    prepare(Request(tmp_path / "b", local=zips, progress=False))
    assert not (tmp_path / "b/images/train2014").is_symlink()
    assert not list((here / "open").rglob(".*"))
    # a picture in a folder that is not ours is never replaced
    bad = here / "open" / "train2014" / name_of("train", CORRUPT)
    bad.write_bytes(b"broken")
    info = prepare(Request(tmp_path / "c", local=local, progress=False))
    assert info["counts"]["train"] == 9 and bad.read_bytes() == b"broken"
    assert info["notes"] == [f"{bad.name} is corrupt and left out (in a folder that is not ours)"]


def test_wrong_local_files_are_named(server, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"images": [{"filename": "x.jpg", "split": "train", "cocoid": 7}]}', "utf-8")
    local = {"karpathy": bad}
    with pytest.raises(ValueError, match="1 of the 1 pictures of Karpathy's split are not in it"):
        prepare(request_of(server, tmp_path / "a", local=local))
    assert not any(path.startswith("zips/") for path, _ in server.asked)  # before the long way
    bad.write_text('{"images": [{"filename": "x.jpg", "split": "x", "cocoid": 7}]}', "utf-8")
    with pytest.raises(ValueError, match="split 'x' found, train, val or test expected"):
        prepare(request_of(server, tmp_path / "b", local=local))
    with pytest.raises(FileNotFoundError, match="no captions_train2014.json in it"):
        prepare(request_of(server, tmp_path / "c", local={"annotations": tmp_path}))
    with pytest.raises(ValueError, match="bad.json: damaged, or not a zip archive"):
        prepare(request_of(server, tmp_path / "d", local={"train_images": bad}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "random"}, "split: 'random' received, one of .'karpathy', 'official'. expected"),
        ({"year": 2015}, "year: 2015 received"),
        ({"parts": ("test_images",)}, "parts: 'test_images' received"),
        ({"local": {"karpathy": Path("nowhere")}}, "karpathy: nowhere does not exist"),
        ({"local": {"test_images": ROOT}}, "--split karpathy has no use for it"),
    ],
)
def test_wrong_requests(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        Request(tmp_path, **settings)


def test_other_data_is_not_touched(server, own_data, tmp_path):
    with pytest.raises(FileExistsError, match="holds other files"):
        prepare(request_of(server, own_data))
    (own_data / "info.json").write_text('{"name": "mine", "version": 1}', "utf-8")
    with pytest.raises(FileExistsError, match="holds the data set 'mine 1'"):
        prepare(request_of(server, own_data))
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(FileExistsError, match="a file stands there"):
        prepare(request_of(server, tmp_path / "file"))
    assert server.asked == []


# --- what goes wrong on the way ----------------------------------------------------------------


def test_without_karpathys_file_there_is_advice(server, tmp_path):
    del server.files["caption_datasets.zip"]
    with pytest.raises(OSError, match="answers 404.*--karpathy FILE .*or choose --split official"):
        prepare(request_of(server, tmp_path))
    assert len(server.asked) == 1


def test_wrong_bytes_are_refused_unless_any_version_will_do(server, tmp_path):
    cut(server, "train", CORRUPT)
    with pytest.raises(OSError, match=r"bytes offered.*--train_images takes a copy you have"):
        prepare(request_of(server, tmp_path))
    server.files["zips/train2014.zip"] += b"x"  # behind the archive
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert info["counts"]["train"] == 9


def test_the_corrupt_picture_is_replaced(server, tmp_path):
    cut(server, "train", CORRUPT)
    name = name_of("train", CORRUPT)
    server.files[f"train2014/{name}"] = picture(CORRUPT)
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert info["notes"] == [f"{name} was corrupt and is replaced by a fresh copy"]
    open_image(tmp_path / "images" / "train2014" / name)
    assert info["counts"]["train"] == 10 and not (tmp_path / "downloads").exists()


@pytest.mark.parametrize("fresh", [None, b"no picture either"])
def test_the_corrupt_picture_is_left_out(server, tmp_path, fresh):
    cut(server, "train", CORRUPT)
    if fresh:
        server.files[f"train2014/{name_of('train', CORRUPT)}"] = fresh
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert len(info["notes"]) == 1 and "is corrupt and left out (" in info["notes"][0]
    assert CORRUPT not in ids_of(tmp_path, "train") and info["counts"]["train"] == 9
    path = tmp_path / "annotations" / "instances_train.json"
    assert CORRUPT not in load_instances(path).imgs


def test_missing_pictures_stop_it(server, tmp_path):
    pictures = {f"val2014/{name_of('val', number)}": picture(number) for number in VAL[1:]}
    server.files["zips/val2014.zip"] = zipped(pictures)
    with pytest.raises(FileNotFoundError, match="1 of 15 pictures are not there.*allow_missing"):
        prepare(request_of(server, tmp_path, any_version=True))
    info = prepare(request_of(server, tmp_path, any_version=True, allow_missing=True))
    assert info["counts"]["train"] == 9 and "1 picture left out, not there" in info["notes"][0]
