"""Instances files: what is read, and one sentence for each file that is none."""

from __future__ import annotations

import json

import pytest

from captioning.datasets.instances import load_instances

RECORD = {
    "images": [{"id": 7}, {"id": 8}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 2, "name": "dog"}],
}


def test_rows_by_id_without_a_word_on_stdout(tmp_path, capsys):
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(RECORD))
    coco = load_instances(path)
    assert coco.imgToAnns[7] == RECORD["annotations"] and coco.imgToAnns[8] == []
    assert list(coco.imgs) == [7, 8] and coco.cats[2]["name"] == "dog"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"images": None}, "TypeError"),
        ({"categories": {}}, "no list 'categories'"),
        ({"categories": [], "annotations": []}, "no categories in it"),
        ({"categories": [{"id": 2}]}, "KeyError.'name'"),
        ({"categories": [{"id": 2, "name": 5}]}, "category 2 has no name"),
        ({"annotations": [{"image_id": 7, "category_id": 2}]}, "KeyError.'id'"),
        ({"annotations": [{"id": 5, "image_id": 3, "category_id": 2}]}, "unknown image_id 3"),
        ({"annotations": [{"id": 5, "image_id": 7, "category_id": 9}]}, "unknown category_id 9"),
    ],
)
def test_files_whose_parts_do_not_fit(tmp_path, change, part):
    path = tmp_path / "instances_val.json"
    path.write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=f"instances_val.json: not a COCO .*{part}"):
        load_instances(path)


@pytest.mark.parametrize("text", ["[", "[]", "{}", '{"images": [{"id": 1}]}', "\x00"])
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "instances_val.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="instances_val.json: not a COCO instances file"):
        load_instances(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="instances: .*none.json does not exist"):
        load_instances(tmp_path / "none.json")
