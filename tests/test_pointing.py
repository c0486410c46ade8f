"""The pointing game, on a picture of four cells."""

from __future__ import annotations

import json

import pytest
import torch

from captioning.evaluation.chair import ObjectWords
from captioning.evaluation.pointing import covered, pointing_game, read_boxes
from model import grid_boxes

WORDS = ObjectWords(["dog", "cat"], {"dog": ["puppy"]})
REGIONS = grid_boxes(2, 2)  # upper left, upper right, lower left, lower right
BOXES = {1: {"dog": [(0.0, 0.0, 0.5, 0.5)], "cat": [(0.5, 0.0, 1.0, 1.0)]}}


def looking_at(*cells: int) -> torch.Tensor:
    """Weights of one word for each cell given."""
    return torch.eye(4)[list(cells)]


def test_hits_and_chance_by_hand():
    words = {1: ["a", "puppy", "and", "cats"]}
    result = pointing_game(words, {1: looking_at(3, 0, 3, 2)}, REGIONS, BOXES, WORDS)
    # the puppy is looked at (its box is a quarter), the cats are not (theirs is a half)
    assert result == {"accuracy": 0.5, "chance": pytest.approx((0.25 + 0.5) / 2), "num_words": 2}


def test_absent_things_do_not_count():
    result = pointing_game({1: ["dog"]}, {1: looking_at(0)}, REGIONS, {1: {}}, WORDS)
    assert result == {"accuracy": 0.0, "chance": 0.0, "num_words": 0}


def test_overlapping_boxes_are_counted_once():
    assert covered([(0, 0, 0.5, 1), (0, 0, 0.5, 1)]) == pytest.approx(0.5)
    assert covered([(0, 0, 0.5, 1), (0.25, 0, 1, 1)]) == pytest.approx(1.0)


def test_boxes_become_shares_of_the_picture(tmp_path):
    record = {
        "images": [{"id": 7, "width": 200, "height": 100}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [50, 25, 100, 50]}],
    }
    path = tmp_path / "instances_test.json"
    path.write_text(json.dumps(record))
    assert read_boxes(path) == {7: {"dog": [(0.25, 0.25, 0.75, 0.75)]}}


@pytest.mark.parametrize(
    ("image", "annotation", "part"),
    [
        ({"id": 7}, {"bbox": [0, 0, 1, 1]}, "KeyError\\('width'\\)"),
        ({"id": 7, "width": 0, "height": 9}, {"bbox": [0, 0, 1, 1]}, "ZeroDivisionError"),
        ({"id": 7, "width": 9, "height": 9}, {}, "KeyError\\('bbox'\\)"),
        ({"id": 7, "width": 9, "height": 9}, {"bbox": [0, 0]}, "ValueError"),
    ],
)
def test_boxes_need_sizes(tmp_path, image, annotation, part):
    record = {
        "images": [image],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, **annotation}],
    }
    path = tmp_path / "instances_test.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"boxes and sizes expected .*{part}"):
        read_boxes(path)
