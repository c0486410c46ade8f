"""The data-set folder that every conversion writes: what is in it, and what it never destroys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from captioning.datasets import layout
from captioning.datasets.layout import MAX_MISSING, Record, write_layout
from captioning.datasets.splits import random_splits
from captioning.training.run import MAX_UNREADABLE
from data_loader import read_annotations

INFO = {"name": "mine", "licence": "CC0", "source": "camera"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures, two of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for i in range(12):
        Image.new("RGB", (8, 6), (i * 20, 0, 0)).save(folder / name_of(i))
    return folder


def name_of(i: int) -> str:
    return f"deeper/{i}.png" if i > 9 else f"{i}.png"


def records(start: int, stop: int, captions: int = 2) -> list[Record]:
    return [
        Record(name_of(i), 100 + i, [f"Photo {i} – “take {c}”." for c in range(captions)])
        for i in range(start, stop)
    ]


def splits() -> dict[str, list[Record]]:
    return {"train": records(0, 8), "val": records(8, 10), "test": records(10, 12)}


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / "annotations" / name).read_text("utf-8"))


def test_the_folder_of_the_contract(tmp_path, photos):
    output = tmp_path / "data" / "mine"
    info = write_layout(output, splits(), photos, INFO)
    assert {p.name for p in output.iterdir()} == {"images", "annotations", "info.json"}
    assert (output / "images").is_symlink() and (output / "images" / "3.png").is_file()
    assert info == json.loads((output / "info.json").read_text("utf-8"))
    assert info["counts"] == {"train": 8, "val": 2, "test": 2}
    assert info["captions"] == {"train": 16, "val": 4, "test": 4}
    assert (info["name"], info["licence"], info["pictures"]) == ("mine", "CC0", "link")
    coco = read_annotations(output, "train")
    assert sorted(coco.imgs) == [*range(100, 108)] and len(coco.anns) == 16
    assert coco.imgToAnns[103][1]["caption"] == "Photo 3 – “take 1”."
    numbers = [a["id"] for s in splits() for a in read(output, f"captions_{s}.json")["annotations"]]
    assert len(set(numbers)) == 24
    assert not [p for p in tmp_path.rglob(".*")]


def test_sizes_are_written_where_they_are_known(tmp_path, photos):
    known = [Record("0.png", 1, ["a"], 8, 6), Record("1.png", 2, ["b"])]
    write_layout(tmp_path / "d", {"train": known}, photos, INFO)
    first, second = read(tmp_path / "d", "captions_train.json")["images"]
    assert (first["width"], first["height"]) == (8, 6) and "width" not in second


def test_copies_take_only_what_is_used(tmp_path, photos):
    output = tmp_path / "d"
    info = write_layout(output, {"test": records(9, 12)}, photos, INFO, pictures="copy")
    assert info["pictures"] == "copy" and not (output / "images").is_symlink()
    assert names_in(output / "images") == {"9.png", "deeper", "deeper/10.png", "deeper/11.png"}


def test_a_split_without_captions_becomes_a_list_of_images(tmp_path, photos):
    output = tmp_path / "d"
    some = [*records(0, 3), Record("5.png", 5, [])]
    given = {"train": some, "test": records(6, 8, captions=0)}
    info = write_layout(output, given, photos, INFO)
    files = {p.name for p in (output / "annotations").iterdir()}
    assert files == {"captions_train.json", "images_test.json"}
    assert "annotations" not in read(output, "images_test.json")
    assert info["counts"] == {"train": 3, "test": 2}
    assert info["notes"] == ["1 picture left out, without a caption: 5.png"]


def test_few_missing_pictures_are_left_out_and_named(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(layout, "MAX_MISSING", 0.1)
    (photos / "2.png").unlink()
    info = write_layout(tmp_path / "d", splits(), photos, INFO)
    assert info["counts"]["train"] == 7
    assert info["notes"] == ["1 picture left out, not there: 2.png"]


def test_many_missing_pictures_are_refused_unless_allowed(tmp_path, photos):
    for i in (2, 3):
        (photos / f"{i}.png").unlink()
    with pytest.raises(FileNotFoundError, match="2 of 12 pictures are not there, e.g. 2.png; at"):
        write_layout(tmp_path / "d", splits(), photos, INFO)
    assert not (tmp_path / "d").exists()
    info = write_layout(tmp_path / "d", splits(), photos, INFO, allow_missing=True)
    assert info["counts"]["train"] == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="12 of 12 .*relative to this folder"):
        write_layout(tmp_path / "e", splits(), tmp_path / "empty", INFO, allow_missing=True)


def test_conversion_and_training_tolerate_the_same_share():
    assert MAX_MISSING == MAX_UNREADABLE


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"train": [Record("../secret.png", 1, ["a"])]}, "'../secret.png': a path below"),
        ({"train": [Record("/etc/passwd", 1, ["a"])]}, "'/etc/passwd': a path below"),
        ({"train": [Record("", 1, ["a"])]}, "'': a path below"),
        ({"train": [Record("a\udcff.png", 1, ["a"])]}, "a path below"),
        ({"../up": [Record("0.png", 1, ["a"])]}, "split '../up': letters"),
        ({"": [Record("0.png", 1, ["a"])]}, "split '': letters"),
        ({"train": [Record("0.png", "1", ["a"])]}, "0.png: image id '1' found, a whole number"),
        ({"train": [Record("0.png", True, ["a"])]}, "0.png: image id True found"),
        ({"train": [Record("0.png", 1, [None])]}, "0.png: caption None found, text expected"),
        (
            {"train": [Record("0.png", 1, ["a"])], "val": [Record("1.png", 1, ["a"])]},
            "1.png: image id 1 is that of 0.png already",
        ),
        ({"train": []}, "no pictures received"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, photos, given, part):
    with pytest.raises(ValueError, match=part.replace(".", r"\.").replace("(", r"\(")):
        write_layout(tmp_path / "d", given, photos, INFO)
    assert not (tmp_path / "d").exists()


def test_other_arguments_are_checked(tmp_path, photos):
    with pytest.raises(ValueError, match="pictures: 'move' received, one of"):
        write_layout(tmp_path / "d", splits(), photos, INFO, pictures="move")
    with pytest.raises(ValueError, match="info: no name received"):
        write_layout(tmp_path / "d", splits(), photos, {})
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder of pictures"):
        write_layout(tmp_path / "d", splits(), tmp_path / "nowhere", INFO)


# ---- what stands there already ----


def test_an_earlier_conversion_is_replaced_only_when_asked(tmp_path, photos):
    output = tmp_path / "d"
    write_layout(output, splits(), photos, INFO)
    before = {p: p.read_bytes() for p in output.rglob("*.json")}
    with pytest.raises(FileExistsError, match="holds info.json already; --overwrite replaces it"):
        write_layout(output, {"train": records(0, 3)}, photos, INFO)
    assert before == {p: p.read_bytes() for p in output.rglob("*.json")}
    (output / "annotations" / "instances_train.json").write_text("{}")
    (output / "features.h5").write_text("somebody's")
    write_layout(output, {"train": records(0, 3)}, photos, INFO, overwrite=True)
    files = {p.name for p in (output / "annotations").iterdir()}
    assert files == {"captions_train.json", "instances_train.json"}  # no val, no test any more
    assert (output / "features.h5").is_file() and (output / "images").is_symlink()
    assert len(names_in(photos)) == 13


def test_pictures_behind_a_link_are_never_deleted(tmp_path, photos):
    output, others = tmp_path / "d", tmp_path / "others"
    others.mkdir()
    Image.new("RGB", (4, 4)).save(others / "x.png")
    write_layout(output, splits(), photos, INFO)
    new = {"train": [Record("x.png", 1, ["a"])]}
    write_layout(output, new, others, INFO, overwrite=True, pictures="copy")
    assert len(names_in(photos)) == 13 and names_in(output / "images") == {"x.png"}
    write_layout(output, splits(), photos, INFO, overwrite=True)  # the copies go, the links come
    assert (output / "images").is_symlink() and names_in(others) == {"x.png"}
    write_layout(output, new, None, INFO, overwrite=True)
    assert not os.path.lexists(output / "images") and len(names_in(photos)) == 13


def test_pictures_that_lie_in_the_data_set_stay_there(tmp_path, photos):
    output = tmp_path / "d"
    output.mkdir()
    photos.rename(output / "images")
    info = write_layout(output, splits(), output / "images", INFO)
    assert info["pictures"] == "in place" and len(names_in(output / "images")) == 13
    with pytest.raises(FileExistsError, match="never deleted; another output expected"):
        write_layout(output, splits(), tmp_path, INFO, overwrite=True)
    write_layout(output, {"train": records(0, 2)}, output / "images", INFO, overwrite=True)
    assert len(names_in(output / "images")) == 13


def test_a_folder_in_use_for_other_things_can_take_a_data_set(tmp_path, photos):
    """The usual case of an archive that was unpacked where the data set shall be."""
    output = tmp_path / "d"
    (output / "annotations").mkdir(parents=True)
    (output / "annotations" / "captions_train2014.json").write_text("official")
    photos.rename(output / "train2014")
    write_layout(output, splits(), output / "train2014", INFO)
    assert (output / "images" / "0.png").is_file()
    assert (output / "annotations" / "captions_train2014.json").read_text() == "official"


def test_a_file_in_the_way(tmp_path, photos):
    (tmp_path / "d").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="a file stands there"):
            write_layout(tmp_path / "d", splits(), photos, INFO, overwrite=overwrite)
    assert (tmp_path / "d").read_text() == "mine"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_stands_there_survives_a_stop(tmp_path, photos, monkeypatch, first, error):
    output = tmp_path / "d"
    if not first:
        write_layout(output, splits(), photos, INFO)
    before = {p: p.read_bytes() for p in output.rglob("*.json")}

    def fail(*_):
        raise error

    monkeypatch.setattr(layout, "_move_into_place", fail)
    with pytest.raises((OSError, KeyboardInterrupt)) as raised:
        write_layout(output, {"train": records(0, 3)}, photos, INFO, overwrite=True)
    if isinstance(error, OSError):
        expected = f"{output}: could not be written ([Errno 28] No space left on device)"
        assert str(raised.value) == expected
    assert before == {p: p.read_bytes() for p in output.rglob("*.json")}
    assert not [p for p in tmp_path.rglob(".*")] and output.exists() is not first


def test_what_a_killed_call_left_is_removed(tmp_path, photos):
    dead = tmp_path / ".d.999999999.part"
    alive = tmp_path / f".d.{os.getppid()}.part"
    for folder in (dead, alive):
        folder.mkdir()
    write_layout(tmp_path / "d", splits(), photos, INFO)
    assert not dead.exists() and alive.exists()
    inside = tmp_path / "d" / ".d.999999999.part"
    inside.mkdir()
    write_layout(tmp_path / "d", splits(), photos, INFO, overwrite=True)
    assert not inside.exists()


def test_what_a_killed_process_moved_aside_is_not_taken_for_a_free_place(tmp_path, photos):
    write_layout(tmp_path / "d", splits(), photos, INFO)
    (tmp_path / "d").rename(tmp_path / ".d.999999999.old")  # as another command does
    with pytest.raises(FileExistsError, match="d: holds info.json already"):
        write_layout(tmp_path / "d", {"train": records(0, 3)}, photos, INFO)
    assert names_in(tmp_path / "d" / "images") == names_in(photos)


# ---- seeded splits ----


def test_drawn_splits_depend_on_seed_and_names_alone():
    some = records(0, 12)
    first = random_splits(some, 0.25, 0.1, seed=3)
    again = random_splits(some[::-1], 0.25, 0.1, seed=3)
    assert {s: len(r) for s, r in first.items()} == {"train": 8, "val": 3, "test": 1}
    for split, members in first.items():
        assert {r.file_name for r in members} == {r.file_name for r in again[split]}
    assert first["val"] != random_splits(some, 0.25, 0.1, seed=4)["val"]
    assert [*random_splits(some, 0.25, 0)] == ["train", "val"]


def test_drawn_splits_leave_something_to_learn_from():
    assert len(random_splits(records(0, 3))["train"]) == 1
    with pytest.raises(ValueError, match="2 pictures would leave none to train on"):
        random_splits(records(0, 2))
    with pytest.raises(ValueError, match="val: 1.5 received, a share of 0 to 1 expected"):
        random_splits(records(0, 12), val=1.5)
