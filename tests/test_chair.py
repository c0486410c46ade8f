"""CHAIR: which words name objects, and the three numbers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.evaluation.chair import (
    ObjectWords,
    chair,
    plurals,
    read_objects,
)
from captioning.evaluation.coco_synonyms import COCO_SYNONYMS, NO_OBJECT

COCO = ["person", "dog", "bear", "teddy bear", "hot dog", "dining table", "traffic light", "train"]
COCO += ["elephant", "knife", "mouse", "sheep", "bus", "toilet", "skis", "scissors", "orange"]
WORDS = ObjectWords(COCO)


def categories(caption: str, words: ObjectWords = WORDS) -> list[str]:
    return [mention.category for mention in words.mentions(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog eats a hot dog.", ["dog", "hot dog"]),
        ("a teddy bear and two bears", ["teddy bear", "bear"]),
        ("Tables next to a dining table", ["dining table", "dining table"]),
        ("The traffic lights are red; no light is on", ["traffic light"]),
        ("Three puppies and a puppy", ["dog", "dog"]),
        ("men, women and children", ["person"] * 3),
        ("a baby elephant", ["elephant"]),
        ("a baby", ["person"]),
        ("a passenger train leaves the train station", ["train"]),
        ("knives, mice, sheep, buses", ["knife", "mouse", "sheep", "bus"]),
        ("a pair of skis and scissors", ["skis", "scissors"]),
        ("a hot-dog stand, an orange-and-white dog", ["hot dog", "orange", "dog"]),
        ("The dog's bowl", ["dog"]),
        ("doghouse trainer manual", []),
        ("", []),
    ],
)
def test_mentions_are_found_longest_first(caption, expected):
    assert categories(caption) == expected


@pytest.mark.parametrize(
    ("noun", "plural"),
    [("dog", "dogs"), ("bus", "buses"), ("puppy", "puppies"), ("toy", "toys"), ("box", "boxes")]
    + [
        ("fireman", "firemen"),
        ("human", "humans"),
        ("teddy bear", "teddy bears"),
        ("bench", "benches"),
    ],
)
def test_plurals(noun, plural):
    assert plurals(noun) == [plural]


def test_own_synonyms_replace_the_table_and_names_come_first():
    words = ObjectWords(["duck", "boat", "bird"], {"boat": ["ship"], "bird": ["duck", "sea-gull"]})
    assert categories("a duck, a ship and two sea gulls", words) == ["duck", "boat", "bird"]
    assert categories("a canoe", words) == []  # in the COCO table, not in this one
    hidden = ObjectWords(["boat"], {NO_OBJECT: ["boat house"]})
    assert categories("a boat by the boat house", hidden) == ["boat"]


def test_object_words_refuse_unknown_categories():
    with pytest.raises(ValueError, match="synonyms: category 'cat' received, one of .'dog'"):
        ObjectWords(["dog"], {"cat": ["kitten"]})
    with pytest.raises(ValueError, match="categories: none received"):
        ObjectWords([])
    with pytest.raises(ValueError, match="an empty word"):
        ObjectWords(["dog"], {"dog": [" "]})


def test_chair_by_hand():
    captions = {
        1: "A dog and a bear on a table",  # dog right; bear and table wrong
        2: "Two dogs and a dog",  # both mentions right, one person left out
        3: "Nothing to see here",
        4: "a man",
    }
    objects = {1: ["dog"], 2: {"dog", "person"}, 3: ["bus"], 4: []}
    result = chair(captions, objects, WORDS)
    assert result["overall"] == {"CHAIRi": 3 / 6, "CHAIRs": 2 / 4, "recall": 2 / 4}
    first = result["per_image"][0]
    assert first["hallucinated"] == ["bear", "table (dining table)"]
    assert first["CHAIRi"] == pytest.approx(2 / 3) and first["recall"] == 1
    assert result["settings"]["num_hallucinated"] == 3 and result["settings"]["num_mentions"] == 6


def test_what_people_mention_counts_as_being_there():
    captions, objects = {1: "a dog on a table"}, {1: ["dog"]}
    assert chair(captions, objects, WORDS)["overall"]["CHAIRs"] == 1
    seen = chair(captions, objects, WORDS, references={1: ["There is a desk.", "a dog"]})
    assert seen["overall"] == {"CHAIRi": 0, "CHAIRs": 0, "recall": 1}


def test_chair_refuses_nothing_and_unknown_images():
    with pytest.raises(ValueError, match="captions: none received"):
        chair({}, {}, WORDS)
    with pytest.raises(ValueError, match="objects: image 5 has a caption but"):
        chair({5: "a dog"}, {4: ["dog"]}, WORDS)


@given(st.lists(st.sampled_from(COCO), max_size=5), st.sets(st.sampled_from(COCO)))
def test_a_caption_hallucinates_exactly_what_is_not_there(named, there):
    caption = ", and ".join(f"a {name}" for name in named)
    entry = chair({1: caption}, {1: there}, WORDS)["per_image"][0]
    assert entry["mentioned"] == named
    assert entry["hallucinated"] == [name for name in named if name not in there]


def test_the_table_gives_every_word_to_one_category():
    words = [word for listed in COCO_SYNONYMS.values() for word in listed]
    assert len(words) == len(set(words))
    assert not set(words) & set(COCO_SYNONYMS)


def test_objects_come_from_an_instances_file(tmp_path):
    record = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 18} for i in range(2)],
    }
    path = tmp_path / "instances_test.json"
    path.write_text(json.dumps(record))
    assert read_objects(path) == ({1: {"dog"}, 2: set()}, ["dog", "car"])
