"""Endings and repetitions: by hand, as words and as ids, and in the result of a split."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.evaluation.evaluate import score_split
from captioning.evaluation.facts import score_facts
from captioning.evaluation.fluency import (
    BAD_ENDINGS,
    bad_endings,
    ends_badly,
    fluency,
    repeats_itself,
    repetitions,
)
from captioning.evaluation.metrics import METRICS
from data_loader import CaptionDataset, eval_transform
from vocabulary import END_IDX, PAD_IDX, UNK_IDX, Vocabulary

VOCABULARY = Vocabulary(["a", "dog", "on", "the", "sky"])  # "of" and others are unknown to it
FEW_WORDS = st.integers(UNK_IDX, len(VOCABULARY) - 1)


def ids(*captions: str, width: int = 8) -> torch.Tensor:
    """(N, T) ids without `<start>`, with `<end>` where there is room for it."""
    rows = []
    for caption in captions:
        row = [*map(VOCABULARY.index, caption.split()), END_IDX]
        rows.append([*row, *[PAD_IDX] * width][:width])
    return torch.tensor(rows)


def test_the_words_nobody_ends_with():
    assert len(BAD_ENDINGS) == 21
    assert ends_badly("a dog on".split()) and ends_badly(["the"])
    assert not ends_badly("a dog on the sky".split())
    assert not ends_badly([])


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog flying flying", True),
        ("flying flying in the sky", True),
        ("the sky the sky", True),
        ("a dog on a dog on a dog", True),  # three words: "a dog on"
        ("one dog on the sky one dog on the sky", False),  # five words: a list, not a stutter
        ("a dog and a cat and a bird", False),
        ("a dog", False),
        ("", False),
    ],
)
def test_repetition_by_hand(caption, expected):
    assert repeats_itself(caption.split()) is expected


def test_fluency_by_hand():
    captions = {7: "A dog on the.", 8: "The sky, the sky!", 9: "A dog.", 10: "a dog"}
    result = fluency(captions)
    assert result["overall"] == {
        "bad_endings": 1 / 4,
        "repetition": 1 / 4,
        "words": (4 + 4 + 2 + 2) / 4,
        "distinct_captions": 3 / 4,
    }
    assert result["per_image"][:2] == [
        {"image_id": 7, "bad_endings": 1, "repetition": 0, "words": 4},
        {"image_id": 8, "bad_endings": 0, "repetition": 1, "words": 4},
    ]


def test_no_key_means_two_things():
    keys = set(fluency({1: "a dog"})["overall"])
    others = {*METRICS, *score_facts({}, {})["overall"], "CHAIRi", "CHAIRs", "recall"}
    assert not keys & others


def test_fluency_of_silence():
    assert fluency({1: ""})["overall"] == {
        "bad_endings": 0,
        "repetition": 0,
        "words": 0,
        "distinct_captions": 1,
    }
    with pytest.raises(ValueError, match="captions: none received, at least one expected"):
        fluency({})


def test_ids_by_hand():
    tokens = ids("a dog on", "the sky the sky", "a dog", "", "a a on a dog on the sky")
    assert bad_endings(tokens, VOCABULARY).tolist() == [True, False, False, False, False]
    assert repetitions(tokens).tolist() == [False, True, False, False, True]


def test_what_follows_the_end_does_not_count():
    tokens = torch.tensor([[4, 5, END_IDX, 6], [5, END_IDX, END_IDX, END_IDX], [5, 0, 0, 0]])
    assert not bad_endings(tokens, VOCABULARY).any()
    assert not repetitions(tokens).any()


def test_a_caption_that_was_cut_ends_where_it_was_cut():
    tokens = ids("a dog on the sky", width=4)  # a dog on the
    assert bad_endings(tokens, VOCABULARY).tolist() == [True]


def test_a_vocabulary_without_such_words_has_no_bad_endings():
    tokens = torch.tensor([[4, 5, END_IDX]])
    assert bad_endings(tokens, Vocabulary(["dog", "sky"])).tolist() == [False]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(FEW_WORDS, max_size=9), min_size=1, max_size=5), st.integers(1, 9))
def test_ids_and_words_agree(captions, width):
    rows = [[*row, END_IDX, *[PAD_IDX] * width][:width] for row in captions]
    tokens = torch.tensor(rows)
    words = [VOCABULARY.decode_words(row) for row in rows]
    assert bad_endings(tokens, VOCABULARY).tolist() == [ends_badly(some) for some in words]
    assert repetitions(tokens).tolist() == [repeats_itself(some) for some in words]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(4, 8), max_size=9), min_size=1, max_size=5))
def test_text_and_words_agree(captions):
    words = [VOCABULARY.decode_words(row) for row in captions]
    written = {i: VOCABULARY.decode(row) for i, row in enumerate(captions)}
    for entry, some in zip(fluency(written)["per_image"], words, strict=True):
        found = (entry["bad_endings"], entry["repetition"], entry["words"])
        assert found == (ends_badly(some), repeats_itself(some), len(some))


def test_a_split_is_checked_too(tiny_data, tiny_vocabulary):
    dataset = CaptionDataset(tiny_data, "test", tiny_vocabulary, eval_transform(32))
    captions = {900: "A red ball on a", 901: "A red red box."}
    result = score_split(dataset, captions, tiny_data, ["cider"])
    overall = result["overall"]
    assert [overall[key] for key in ("bad_endings", "repetition", "words")] == [0.5, 0.5, 4.5]
    first, second = result["per_image"]
    assert (first["image_id"], first["bad_endings"], second["repetition"]) == (900, 1, 1)
    assert "CIDEr" in first and first["caption"] == captions[900]
