"""Files a data set may lack: read where they are, no error where they are not."""

from __future__ import annotations

import json

import pytest

from captioning.datasets.optional import list_splits, read_instances, read_phrases, read_scenes

SCENE = {
    "image_id": 7,
    "setting": "beach",
    "entities": [{"entity_id": 0, "category": "dog", "colour": "red"}],
    "relations": [],
    "novel": False,
}


@pytest.fixture
def annotations(tmp_path):
    (tmp_path / "annotations").mkdir()
    return tmp_path / "annotations"


def test_nothing_there(annotations):
    data = annotations.parent
    assert read_instances(data, "train") is None
    assert read_scenes(data, "train") == {}
    assert read_phrases(data, "train") == []
    assert list_splits(data) == []


def test_instances_by_picture_without_a_word_on_stdout(annotations, capsys):
    box = {"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12}
    record = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [box],
        "categories": [{"id": 2, "name": "dog"}],
    }
    (annotations / "instances_val.json").write_text(json.dumps(record))
    coco = read_instances(annotations.parent, "val")
    assert coco.imgToAnns[7] == [box] and coco.cats[2]["name"] == "dog"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [], "annotations": []}'])
def test_a_bad_instance_file_is_named(annotations, text):
    (annotations / "instances_val.json").write_text(text)
    with pytest.raises(ValueError, match="instances_val.json: "):
        read_instances(annotations.parent, "val")


def test_scenes_by_image(annotations):
    (annotations / "scenes_test.json").write_text(json.dumps({"scenes": [SCENE]}))
    scenes = read_scenes(annotations.parent, "test")
    assert scenes[7].setting == "beach" and scenes[7].entities[0].colour == "red"


def test_phrases_are_rows(annotations):
    (annotations / "finecapeval_test.csv").write_text("image,object\na.jpg,red dog\\;cat\n")
    assert read_phrases(annotations.parent, "test") == [
        {"image": "a.jpg", "object": "red dog\\;cat"}
    ]


def test_splits_come_in_their_usual_order(annotations):
    for name in ("test", "extra", "train", "val"):
        (annotations / f"captions_{name}.json").write_text("{}")
    assert list_splits(annotations.parent) == ["train", "val", "test", "extra"]
