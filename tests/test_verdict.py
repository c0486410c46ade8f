"""False statements of a caption, in words."""

from __future__ import annotations

import pytest

from captioning.datasets.picturebook.scene import Entity, Relation, Scene
from captioning.evaluation.verdict import find_errors, missing_objects, verdict

# A red dog left of two blue cats, on the beach.
SCENE = Scene(
    image_id=1,
    setting="beach",
    entities=[Entity(0, "dog", "red"), Entity(1, "cat", "blue", count=2)],
    relations=[Relation(0, "left of", 1)],
)


@pytest.mark.parametrize(
    ("caption", "errors"),
    [
        ("A red dog to the left of two blue cats on the beach.", []),
        ("A rabbit and a dog.", [("object", "no rabbit in the picture")]),
        ("A green dog and blue cats.", [("colour", "the dog is red")]),
        ("Three cats.", [("number", "number of cat: 2")]),
        ("A dog to the right of the cats.", [("relation", "the dog is not right of the cat")]),
        ("A dog in the snow.", [("setting", "it is the beach")]),
    ],
)
def test_each_kind_of_error_is_named(caption, errors):
    assert find_errors(caption, SCENE) == errors


def test_a_relation_to_an_absent_thing_is_one_error():
    kinds = [kind for kind, _ in find_errors("A dog to the left of a horse.", SCENE)]
    assert kinds == ["object"]


def test_errors_come_in_the_order_of_the_kinds_and_once():
    found = find_errors("A green dog in the snow with a horse and a horse.", SCENE)
    assert [kind for kind, _ in found] == ["object", "colour", "setting"]


def test_verdicts():
    assert verdict("A red dog.", SCENE) == "true, but silent about: cat"
    assert verdict("A dog and cats.", SCENE) == "true and complete"
    assert verdict("A horse.", SCENE) == "wrong: no horse in the picture"
    assert missing_objects("A bird.", SCENE) == ["dog", "cat"]
