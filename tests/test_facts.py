"""The facts score: hand-worked captions of one small scene, and what must score low."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captioning.datasets.picturebook.lexicon import category_words
from captioning.datasets.picturebook.scene import Entity, Relation, Scene, load_scenes
from captioning.evaluation.facts import (
    check_caption,
    read_statements,
    relation_facts,
    score_facts,
)
from vocabulary import tokenize


@pytest.fixture
def scene() -> Scene:
    """Two red dogs left of a white cat that sits on a green chair; a blue plane above."""
    entities = [
        Entity(0, "dog", "red", count=2, pose="standing"),
        Entity(1, "cat", "white", pose="sitting"),
        Entity(2, "chair", "green", pose="wooden"),
        Entity(3, "plane", "blue", pose="jet"),
    ]
    relations = [
        Relation(1, "sitting on", 2),
        Relation(0, "left of", 1),
        Relation(3, "above", 0),
    ]
    return Scene(1, "beach", entities, relations)


def score(caption: str, scene: Scene) -> dict:
    return score_facts({1: caption}, {1: scene})["overall"]


def test_a_true_caption_by_hand(scene: Scene) -> None:
    overall = score("Two red dogs stand left of a white cat on the beach.", scene)
    assert overall["object_precision"] == 1.0
    assert overall["object_recall"] == 2 / 4
    assert overall["object_f1"] == pytest.approx(2 / 3)
    assert (overall["colour_accuracy"], overall["num_colours"]) == (1.0, 2)
    assert (overall["relation_accuracy"], overall["num_relations"]) == (1.0, 1)
    assert (overall["setting_accuracy"], overall["num_settings"]) == (1.0, 1)
    assert (overall["count_accuracy"], overall["num_counts"]) == (1.0, 1)


def test_a_false_caption_by_hand(scene: Scene) -> None:
    overall = score("One blue dog stands right of a white cat and a horse in the snow.", scene)
    assert overall["object_precision"] == pytest.approx(2 / 3)  # dog, cat; no horse
    assert overall["object_recall"] == 2 / 4
    assert (overall["colour_accuracy"], overall["num_colours"]) == (0.5, 2)
    assert overall["relation_accuracy"] == 0.0
    assert overall["setting_accuracy"] == 0.0
    assert overall["count_accuracy"] == 0.0


def test_the_facts_score_weighs_all_statements_alike(scene: Scene) -> None:
    """Two objects, two colours, a relation, a setting, a count: all true; 2 of 4 things found."""
    true = score("Two red dogs stand left of a white cat on the beach.", scene)
    assert true["facts"] == pytest.approx(2 * 1 * 0.5 / 1.5)
    # Of 3 objects 2 right, of 2 colours 1; relation, setting and count false: 3 of 8. 2 of 4 found.
    false = score("One blue dog stands right of a white cat and a horse in the snow.", scene)
    assert false["facts"] == pytest.approx(2 * (3 / 8) * 0.5 / (3 / 8 + 0.5))
    assert score("A plane.", scene)["facts"] == pytest.approx(2 * 1 * 0.25 / 1.25)
    assert score("Nothing.", scene)["facts"] == 0


def test_micro_average_over_pictures_and_captions(scene: Scene) -> None:
    other = Scene(2, "snow", [Entity(0, "boat", "pink")], [])
    result = score_facts({1: ["A dog.", "A dog and a bus."], 2: "A cat."}, {1: scene, 2: other})
    overall = result["overall"]
    assert overall["num_captions"] == 3
    assert overall["object_precision"] == 2 / 4
    assert overall["object_recall"] == 2 / (4 + 4 + 1)
    first, second = result["per_image"]
    assert (first["image_id"], first["object_precision"]) == (1, 2 / 3)
    assert (second["image_id"], second["object_f1"]) == (2, 0.0)


def test_swapped_arguments_are_detected(scene: Scene) -> None:
    assert score("A dog left of a cat.", scene)["relation_accuracy"] == 1.0
    assert score("A cat left of a dog.", scene)["relation_accuracy"] == 0.0
    assert score("A cat right of a dog.", scene)["relation_accuracy"] == 1.0


@pytest.mark.parametrize(
    "caption",
    [
        "To the left of the cat stand two dogs.",
        "A cat is sitting on a chair.",
        "There is a chair with a white cat on it.",
        "On a chair sits a cat.",
        "A green chair under a cat.",
        "A jet flies high above two red dogs.",
        "Two dogs below an aeroplane.",
        "A dog on the left and a cat on the right.",
        "A dog next to a cat.",
        "Two dogs are waiting to the left of a chair.",  # the cat on it is right of them
        "An animal sits on a piece of furniture.",
    ],
)
def test_true_relations_in_many_words(caption: str, scene: Scene) -> None:
    tally = check_caption(caption, scene)
    assert (tally["relations_said"], tally["relations_right"]) == (1, 1)


@pytest.mark.parametrize(
    "caption",
    [
        "To the right of the cat stand two dogs.",
        "A chair with a dog on it.",
        "A dog is chasing a cat.",
        "A cat above a plane.",
        "On the left there is a cat and on the right a dog.",
        "A girl left of a cat.",  # no girl
        "A dog is chased by a cat.",
    ],
)
def test_false_relations_in_many_words(caption: str, scene: Scene) -> None:
    tally = check_caption(caption, scene)
    assert (tally["relations_said"], tally["relations_right"]) == (1, 0)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "A girl holding a ball stands in front of a house",
            ["girl holding ball", "girl in front of house"],
        ),
        ("A dog runs on the beach while a cat sits under a table", ["cat under table"]),
        ("A cat that is sitting on a chair is left of a dog", ["cat on chair", "cat left of dog"]),
        ("A rabbit runs away from a dog", ["dog chasing rabbit"]),
        ("A kite flown by a boy", ["boy flying kite"]),
        ("Above a house flies a plane", ["plane above house"]),
        ("A boy with a ball in his hands", ["boy holding ball"]),
        (
            "A boy rides a bike, and a bird flies above him",
            ["boy riding bicycle", "bird above boy"],
        ),
        ("A dog, a cat and a bird on the grass", []),
    ],
)
def test_statements_by_hand(caption: str, expected: list[str]) -> None:
    statements = read_statements(tokenize(caption))
    said = [f"{s.subject.category} {s.predicate} {s.object.category}" for s in statements]
    assert said == expected


def test_what_relations_imply() -> None:
    def facts(predicate: str, facing: str = "right") -> set[tuple[int, str, int]]:
        entities = [Entity(0, "boy", "red", facing=facing), Entity(1, "kite", "blue")]
        return relation_facts(Scene(1, "snow", entities, [Relation(0, predicate, 1)]))

    assert (1, "above", 0) in facts("flying") and (0, "holding", 1) in facts("flying")
    assert (0, "on", 1) in facts("riding") and (1, "under", 0) in facts("riding")
    assert (0, "left of", 1) in facts("chasing", "right")
    assert (0, "right of", 1) in facts("chasing", "left")
    assert (1, "beside", 0) in facts("left of") and (1, "left of", 0) not in facts("left of")
    assert (0, "riding", 1) not in facts("on")


def test_listing_every_noun_scores_low(scene: Scene) -> None:
    everything = " ".join(noun for nouns in category_words().values() for noun in nouns)
    overall = score(everything, scene)
    assert overall["object_recall"] == 1.0
    assert overall["object_precision"] == 4 / 20
    assert overall["object_f1"] < 0.4


def test_saying_a_noun_again_changes_nothing(scene: Scene) -> None:
    once, twice = score("A dog and a bus.", scene), score("A dog, a dog, a puppy and a bus.", scene)
    assert once["object_precision"] == twice["object_precision"] == 0.5


def test_an_empty_caption_finds_nothing(scene: Scene) -> None:
    overall = score("", scene)
    assert overall["object_recall"] == overall["object_precision"] == overall["object_f1"] == 0.0


def test_a_vague_word_counts_for_precision_only(scene: Scene) -> None:
    overall = score("An animal near a vehicle and a child.", scene)
    assert overall["object_precision"] == pytest.approx(2 / 3)  # no child
    assert overall["object_recall"] == 0.0


def test_totals_of_vague_words_are_counts(scene: Scene) -> None:
    assert score("Three animals on a beach.", scene)["count_accuracy"] == 1.0  # 2 dogs + 1 cat
    assert score("Two pets on a beach.", scene)["count_accuracy"] == 1.0
    assert score("Four animals on a beach.", scene)["count_accuracy"] == 0.0


def test_a_word_of_two_settings_is_wrong_in_neither(scene: Scene) -> None:
    assert score("A dog near the sea.", scene)["setting_accuracy"] == 1.0
    assert score("A dog near the sea at night.", scene)["setting_accuracy"] == 0.0


def test_an_image_without_a_scene_is_named() -> None:
    with pytest.raises(ValueError, match="image id 9 received"):
        score_facts({9: "A dog."}, {})


def test_scenes_are_read_back(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "scenes_test.json"
    for content in ([scene.to_dict()], {"scenes": [scene.to_dict()]}):
        path.write_text(json.dumps(content), "utf-8")
        assert load_scenes(path) == {1: scene}


@pytest.mark.parametrize("content", ["not json", '[{"image_id": 1}]', '{"images": []}'])
def test_a_file_that_holds_no_scenes_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "scenes_test.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match="scenes_test.json: not a file of scenes"):
        load_scenes(path)
