"""The five describers: true, grammatical, varied, and read back by the lexicon that wrote them."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.datasets.picturebook.describe import describe
from captioning.datasets.picturebook.lexicon import (
    category_words,
    find_mentions,
    find_settings,
    read_spans,
)
from captioning.datasets.picturebook.sampling import sample_scene
from captioning.datasets.picturebook.scene import CATEGORIES, Entity, Scene
from captioning.datasets.picturebook.wording import (
    finite_form,
    ing_form,
    with_article,
)
from captioning.datasets.picturebook.words import COLOUR_WORDS, NOUNS, plural_of, pluralize
from captioning.evaluation.facts import check_caption, score_facts
from captioning.evaluation.metrics import leave_one_out
from vocabulary import tokenize

SLOTS = {"noun": "NOUN", "colour": "COLOUR", "number": "NUMBER", "setting": "SETTING"}


@pytest.fixture(scope="module")
def pages() -> list[tuple[Scene, list[str]]]:
    """3,000 scenes with their captions."""
    rng = random.Random(11)
    scenes = [sample_scene(image_id, rng, novel=image_id % 5 == 0) for image_id in range(3000)]
    return [(scene, describe(scene, rng)) for scene in scenes]


@pytest.fixture(scope="module")
def captions(pages: list[tuple[Scene, list[str]]]) -> list[str]:
    return [caption for _, texts in pages for caption in texts]


@given(seed=st.integers(0, 2**32), novel=st.booleans())
@settings(max_examples=60, deadline=None)
def test_five_different_true_captions_of_5_to_20_words(seed: int, novel: bool) -> None:
    rng = random.Random(seed)
    scene = sample_scene(1, rng, novel=novel)
    texts = describe(scene, rng)
    assert len(set(texts)) == 5
    for text in texts:
        assert 5 <= len(tokenize(text)) <= 20, text
        assert re.fullmatch(r"[A-Z][A-Za-z',: -]*[a-z]\.", text) and "  " not in text, text
        tally = check_caption(text, scene)
        assert tally["objects_said"] >= 1, text
        for kind in ("objects", "colours", "relations", "settings", "counts"):
            assert tally[f"{kind}_right"] == tally[f"{kind}_said"], (kind, text, scene)


def test_equal_seeds_give_equal_captions_and_other_seeds_others() -> None:
    scene = sample_scene(1, random.Random(5))
    assert describe(scene, random.Random(3)) == describe(scene, random.Random(3))
    assert describe(scene, random.Random(3)) != describe(scene, random.Random(4))


def test_the_describers_say_what_their_names_promise(captions: list[str]) -> None:
    """A fifth of the captions each: with colours of both things, setting first, with numbers."""
    texts = [tokenize(caption) for caption in captions]
    starts = sum(bool(find_settings(words[:9])) for words in texts) / len(texts)
    coloured = sum(sum(m.colour is not None for m in find_mentions(w)) >= 2 for w in texts)
    counted = sum(sum(m.count is not None for m in find_mentions(w)) >= 1 for w in texts)
    assert starts > 0.2
    assert coloured / len(texts) > 0.2
    assert counted / len(texts) > 0.2


def test_a_scene_without_a_relation_is_refused() -> None:
    with pytest.raises(ValueError, match="picture 7 has no relation"):
        describe(Scene(7, "beach", [Entity(0, "dog", "red")], []), random.Random(0))


def test_at_least_350_words_most_of_them_seen_often(captions: list[str]) -> None:
    counts = Counter(word for caption in captions for word in tokenize(caption))
    assert len(counts) >= 350
    assert sum(count >= 5 for count in counts.values()) >= 0.85 * len(counts)


def test_no_sentence_pattern_is_said_by_more_than_one_caption_in_twenty(
    captions: list[str],
) -> None:
    def pattern(caption: str) -> str:
        words = tokenize(caption)
        return " ".join(
            SLOTS.get(span.kind) or " ".join(words[span.start : span.end])
            for span in read_spans(words)
        )

    ((_, most),) = Counter(map(pattern, captions)).most_common(1)
    assert most < 0.05 * len(captions)


def test_people_agree_like_people_do(pages: list[tuple[Scene, list[str]]]) -> None:
    references = {scene.image_id: texts for scene, texts in pages[:300]}
    human = leave_one_out(references, ["CIDEr"])["overall"]["CIDEr"]
    assert 0.7 <= human <= 2.5


def test_the_facts_score_agrees_with_the_describers(pages: list[tuple[Scene, list[str]]]) -> None:
    overall = score_facts(
        {scene.image_id: texts for scene, texts in pages[:600]},
        {scene.image_id: scene for scene, _ in pages},
    )["overall"]
    for key in ("object_precision", "colour_accuracy", "relation_accuracy", "setting_accuracy"):
        assert overall[key] >= 0.98, key
    assert overall["count_accuracy"] >= 0.98
    assert overall["object_recall"] > 0.6
    assert overall["num_relations"] > 0.7 * overall["num_captions"]


def test_articles_fit_the_next_sound(captions: list[str]) -> None:
    for caption in captions:
        for article, letter in re.findall(r"\b(an?) (\w)", caption.lower()):
            assert (article == "an") == (letter in "aeiou"), caption


def test_numbers_articles_and_verbs_agree_with_their_nouns(captions: list[str]) -> None:
    checked = 0
    for caption in captions:
        words = tokenize(caption)
        for mention in find_mentions(words):
            if "aircraft" in words[mention.start : mention.end]:  # one aircraft, two aircraft
                continue
            before, after = words[: mention.start], words[mention.end : mention.end + 1]
            several = mention.plural or (mention.count or 1) > 1
            if words[mention.start] in ("a", "an", "another") and mention.count is None:
                assert not mention.plural, caption
            if mention.count is not None:
                assert mention.plural == (mention.count > 1), caption
            if after and after[0] in ("is", "are", "has", "have") and not before:
                assert (after[0] in ("are", "have")) == several, caption
                checked += 1
            if before[-2:] in (["there", "is"], ["there", "are"]):
                assert (before[-1] == "are") == several, caption
                checked += 1
    assert checked > 1000


def test_every_noun_belongs_to_one_category_and_is_read_back() -> None:
    owners: dict[str, str] = {}
    assert set(NOUNS) == set(CATEGORIES) == set(category_words())
    for category, nouns in category_words().items():
        for noun in nouns:
            assert owners.setdefault(noun, category) == category
    for category, nouns in NOUNS.items():
        for noun in nouns:
            for form, plural in ((noun.singular, False), (plural_of(noun), True)):
                (mention,) = find_mentions(tokenize(f"we saw {form} here"))
                assert mention.category == category
                assert mention.plural == plural or form == noun.singular == plural_of(noun)


def test_every_colour_word_is_read_back() -> None:
    for colour, words in COLOUR_WORDS.items():
        for word, _ in words:
            assert find_mentions(tokenize(f"a big {word} dog"))[0].colour == colour
            assert find_mentions(tokenize(f"a girl in a {word} dress"))[0].colour == colour


def test_mentions_by_hand() -> None:
    words = tokenize("Two small red dogs chase a boy in a blue shirt past some school buses.")
    dogs, boy, buses = find_mentions(words)
    assert (dogs.category, dogs.colour, dogs.count, dogs.plural) == ("dog", "red", 2, True)
    assert (dogs.start, dogs.end) == (0, 4)
    assert (boy.category, boy.colour, boy.count, boy.start, boy.end) == ("boy", "blue", None, 5, 11)
    assert (buses.category, buses.colour, buses.count, buses.plural) == ("bus", None, None, True)


def test_a_vague_noun_has_members_but_no_category() -> None:
    (pet,) = find_mentions(tokenize("A pet on the green grass."))
    assert pet.category is None
    assert set(pet.members) == {"dog", "cat", "rabbit"}
    assert pet.colour is None


def test_a_colour_after_the_noun_is_not_taken_from_the_next_noun() -> None:
    girl, ball = find_mentions(tokenize("A girl with a red ball"))
    assert (girl.colour, ball.colour) == (None, "red")
    plane, horses = find_mentions(tokenize("A plane painted blue, two horses"))
    assert (plane.colour, horses.colour, horses.count) == ("blue", None, 2)
    (boy,) = find_mentions(tokenize("a boy in green grass"))
    assert boy.colour is None


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        ("girl", "girls"),
        ("bus", "buses"),
        ("puppy", "puppies"),
        ("coach", "coaches"),
        ("boy", "boys"),
    ],
)
def test_plurals(word: str, plural: str) -> None:
    assert pluralize(word) == plural


def test_irregular_plurals_and_verb_forms() -> None:
    (child, *_) = find_mentions(["children"])
    assert child.plural and set(child.members) == {"girl", "boy"}
    assert [ing_form(v) for v in ("sit", "lie", "race", "fly", "park")] == (
        ["sitting", "lying", "racing", "flying", "parked"]
    )
    assert [finite_form(v, False) for v in ("fly", "dash", "park")] == [
        "flies",
        "dashes",
        "is parked",
    ]
    assert [finite_form(v, True) for v in ("fly", "park")] == ["fly", "are parked"]
    assert with_article("orange dog") == "an orange dog"
