"""The report on stutters, endings and length: by hand, and against `fluency`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.evaluation.fluency import fluency
from captioning.evaluation.sanity import sanity

CAPTIONS = {7: "A dog dog on a.", 8: "The sky, the sky!", 9: "A dog.", 10: "A red ball"}
PEOPLE = {7: ["A dog.", "A dog on the", "Two dogs run."], 8: ["The big sky is blue."], 9: []}
TEXTS = st.lists(st.sampled_from("a dog on sky".split()), max_size=6).map(" ".join)


def test_by_hand():
    assert sanity(CAPTIONS, PEOPLE) == {
        "captions": {"repetition": 2 / 4, "bad_endings": 1 / 4, "words": (5 + 4 + 2 + 3) / 4},
        "people": {"repetition": 0, "bad_endings": 1 / 4, "words": (2 + 4 + 3 + 5) / 4},
    }


def test_every_caption_of_people_counts_once():
    """The mean over captions, 2 words, is not the mean over pictures, 3."""
    people = {1: ["A big red dog runs."], 2: ["dog"] * 3}
    assert sanity(CAPTIONS, people)["people"]["words"] == (5 + 1 + 1 + 1) / 4


def test_without_people():
    assert sanity(CAPTIONS) == {"captions": sanity(CAPTIONS, PEOPLE)["captions"], "people": None}
    assert sanity(CAPTIONS, None) == sanity(CAPTIONS)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.integers(0, 99), TEXTS, min_size=1, max_size=5),
    st.dictionaries(st.text(max_size=3), st.lists(TEXTS, min_size=1, max_size=3), min_size=1),
)
def test_the_numbers_are_those_of_fluency(captions, people):
    report = sanity(captions, people)
    overall = fluency(captions)["overall"]
    assert report["captions"].items() <= overall.items()
    every = dict(enumerate(text for texts in people.values() for text in texts))
    assert report["people"].items() <= fluency(every)["overall"].items()
    for row in report.values():
        assert list(row) == ["repetition", "bad_endings", "words"]


def test_the_same_captions_give_the_same_rows():
    report = sanity(CAPTIONS, {image_id: [text] for image_id, text in CAPTIONS.items()})
    assert report["captions"] == report["people"]


def test_no_captions_are_refused():
    with pytest.raises(ValueError, match="captions: none received, at least one expected"):
        sanity({}, PEOPLE)


@pytest.mark.parametrize("people", [{}, {1: []}])
def test_no_captions_of_people_are_refused(people):
    with pytest.raises(ValueError, match="people: no captions received, at least one, or None"):
        sanity(CAPTIONS, people)
