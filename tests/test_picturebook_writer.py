"""The picture book as a folder: contract, determinism, and what an interruption leaves behind."""

import csv
import hashlib
import io
import json
import os
from contextlib import redirect_stdout

import pytest
from PIL import Image
from pycocotools.coco import COCO

from captioning.datasets.picturebook import writer
from captioning.datasets.picturebook.contact_sheet import contact_sheet
from captioning.datasets.picturebook.phrase_table import COLUMNS, caption_phrases
from captioning.datasets.picturebook.sampling import combination, is_held_out, statements
from captioning.datasets.picturebook.scene import CATEGORIES, Entity, Relation, Scene
from captioning.datasets.picturebook.writer import is_novel, write_picturebook

COUNTS = {"train": 24, "val": 5, "test": 6}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "picturebook"
    write_picturebook(folder, **COUNTS, workers=1, progress=False)
    return folder


def read(folder, name):
    return json.loads((folder / "annotations" / name).read_text(encoding="utf-8"))


def digest(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def load(folder, name):
    with redirect_stdout(io.StringIO()):
        return COCO(folder / "annotations" / name)


def test_folder_follows_the_contract(book):
    info = json.loads((book / "info.json").read_text(encoding="utf-8"))
    assert info["name"] == "picturebook" and info["licence"] == "MIT"
    assert info["counts"] == COUNTS and info["seed"] == 0 and info["image_size"] == 128
    ids = []
    for split, count in COUNTS.items():
        captions = read(book, f"captions_{split}.json")
        assert len(captions["images"]) == count and len(captions["annotations"]) == 5 * count
        for row in captions["images"]:
            ids.append(row["id"])
            with Image.open(book / "images" / row["file_name"]) as image:
                assert image.format == "JPEG" and image.size == (row["width"], row["height"])
        scenes = read(book, f"scenes_{split}.json")["scenes"]
        assert [s["image_id"] for s in scenes] == [row["id"] for row in captions["images"]]
    assert len(set(ids)) == len(ids) == len(list((book / "images").iterdir()))


def test_pycocotools_reads_boxes_and_masks(book):
    coco = load(book, "instances_train.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CATEGORIES)
    assert coco.getCatIds(supNms=["toy"]) == [15, 16, 17]
    close = []
    for row in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(row)
        close.append(abs(mask.sum() - row["area"]) <= max(6, 0.08 * row["area"]))
        x, y, w, h = (int(v) for v in row["bbox"])
        assert mask[y : y + h, x : x + w].sum() >= 0.97 * mask.sum()
    assert sum(close) >= 0.97 * len(close)


def test_captions_load_and_ids_are_unique(book):
    coco = load(book, "captions_val.json")
    assert len(coco.getAnnIds()) == 5 * COUNTS["val"]
    assert all(len(coco.getAnnIds(imgIds=[i])) == 5 for i in coco.getImgIds())


def test_novel_pictures_and_train_share_no_combination(book):
    train = [Scene.from_dict(s) for s in read(book, "scenes_train.json")["scenes"]]
    assert not any(is_held_out(*words) for scene in train for words in statements(scene))
    test = [Scene.from_dict(s) for s in read(book, "scenes_test.json")["scenes"]]
    novel = [scene for scene in test if scene.novel]
    assert novel and all(is_held_out(*combination(scene)) for scene in novel)
    for count in (100, 300):
        assert sum(is_novel("test", i) for i in range(1, count + 1)) >= 0.4 * count
    assert not is_novel("train", 1)


def test_same_files_for_any_number_of_workers(book, tmp_path):
    write_picturebook(tmp_path / "two", **COUNTS, workers=2, progress=False)
    assert digest(tmp_path / "two") == digest(book)
    write_picturebook(tmp_path / "other", **COUNTS, workers=1, progress=False, seed=1)
    assert digest(tmp_path / "other") != digest(book)


def test_a_picture_does_not_depend_on_the_counts(book, tmp_path):
    write_picturebook(tmp_path / "few", train=2, val=0, test=1, workers=1, progress=False)
    few, all_files = digest(tmp_path / "few" / "images"), digest(book / "images")
    assert len(few) == 3 and all(all_files[name] == value for name, value in few.items())


def test_phrase_table(book):
    with (book / "annotations" / "finecapeval_test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS) and len(rows) == 5 * COUNTS["test"]
    assert all(row[name] for row in rows for name in COLUMNS)
    assert {row["image"] for row in rows} == {f"test_{i:06d}.jpg" for i in range(1, 7)}
    assert any("\\;" in row["object"] for row in rows)


def test_caption_phrases_by_hand():
    entities = [Entity(0, "dog", "red"), Entity(1, "table", "blue")]
    scene = Scene(1, "meadow", entities, [Relation(0, "under", 1)])
    phrases = caption_phrases(scene, "A red dog is under the table.")
    assert phrases == {
        "background": ["meadow"],
        "object": ["red dog", "table"],
        "relation": ["under"],
    }
    phrases = caption_phrases(scene, "Here is a dog on the grass.")
    assert phrases["background"] == ["grass"]
    assert phrases["relation"] == ["under"]  # "on" is about the place, so the scene's word is taken


def test_existing_folder_is_refused(book, tmp_path):
    before = digest(book)
    with pytest.raises(FileExistsError, match="exists already"):
        write_picturebook(book, **COUNTS, workers=1, progress=False)
    assert digest(book) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="not a picture book"):
        write_picturebook(tmp_path / "mine", **COUNTS, progress=False, overwrite=True)
    assert (tmp_path / "mine" / "photo.txt").read_text() == "keep me"


def test_overwrite_replaces_everything(tmp_path):
    folder = tmp_path / "book"
    write_picturebook(folder, train=2, val=1, test=1, workers=1, progress=False)
    write_picturebook(
        folder, train=1, val=0, test=0, workers=1, progress=False, image_size=64, overwrite=True
    )
    assert [path.name for path in (folder / "images").iterdir()] == ["train_000001.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["book"]


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    real, calls = writer.describe, []

    def stop_at_third(scene, rng):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(scene, rng)

    monkeypatch.setattr(writer, "describe", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_picturebook(tmp_path / "book", train=5, val=0, test=0, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    leftover = tmp_path / ".book.999999999.part"
    (leftover / "images").mkdir(parents=True)
    running = tmp_path / f".book.{os.getppid()}.part"
    running.mkdir()
    write_picturebook(tmp_path / "book", train=1, val=0, test=0, workers=1, progress=False)
    assert not leftover.exists() and running.exists()


def test_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_draw_page", full)
    with pytest.raises(OSError, match="book: could not be written .No space left"):
        write_picturebook(tmp_path / "book", train=1, val=0, test=0, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": -1}, "train is -1"),
        ({"train": 0, "val": 0, "test": 0}, "all 0"),
        ({"image_size": 8}, "image_size is 8"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        write_picturebook(tmp_path / "book", progress=False, **settings)


def test_contact_sheet_of_a_folder_and_of_pictures(book):
    sheet = contact_sheet(book, rows=2, columns=3, cell=100, gap=10, captions=True)
    assert sheet.width == 3 * 110 + 10 and sheet.height > 2 * 110 + 10
    red = Image.new("RGB", (20, 20), "red")
    sheet = contact_sheet([red, (red, "a caption")], rows=1, columns=2, cell=40, gap=4)
    assert sheet.size == (2 * 44 + 4, 48) and sheet.getpixel((60, 20)) == (255, 0, 0)
    with pytest.raises(FileNotFoundError, match="captions_dev.json"):
        contact_sheet(book, split="dev")
    with pytest.raises(ValueError, match="rows is 0"):
        contact_sheet([red], rows=0)
