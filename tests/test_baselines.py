"""Captions borrowed from training pictures, on vectors and sentences one can check by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.evaluation.baselines import (
    CaptionPool,
    caption_similarity,
    consensus_captions,
    most_frequent_caption,
    nearest_pictures,
)
from captioning.evaluation.cider import CiderScorer
from captioning.evaluation.ngrams import DocumentFrequency
from vocabulary import tokenize

CAPTIONS = [
    ["A dog runs on grass.", "The dog runs on green grass.", "Something else entirely."],
    ["A dog runs in the park.", "A brown dog runs on grass."],
    ["Two boats lie in a harbour.", "Boats in a harbour at night."],
]


def test_most_frequent_compares_words_and_returns_what_was_written_first():
    captions = [["A cat.", "Two dogs run."], ["a cat", "Two cats."], ["Two dogs run"], ["A CAT !"]]
    assert most_frequent_caption(captions) == "A cat."


def test_most_frequent_prefers_the_earliest_of_equally_frequent_ones():
    assert most_frequent_caption([["B.", "A."], ["A.", "B."]]) == "B."


def test_most_frequent_needs_words():
    with pytest.raises(ValueError, match="no words received"):
        most_frequent_caption([["..."], []])


def test_nearest_pictures_by_angle_not_by_length():
    pool = torch.tensor([[1.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
    queries = torch.tensor([[10.0, 1.0], [0.1, 0.2]])
    # cosines of the second query: 0.1, 0.2 and 0.3 / sqrt(2) = 0.212 (all over its norm)
    assert nearest_pictures(queries, pool, 3).tolist() == [[0, 2, 1], [2, 1, 0]]
    assert nearest_pictures(queries, pool, 1).tolist() == [[0], [2]]


@pytest.mark.parametrize("k", [0, 4])
def test_nearest_pictures_refuses_k(k):
    with pytest.raises(ValueError, match=f"k: {k} received, 1 to 3 expected"):
        nearest_pictures(torch.ones(1, 2), torch.ones(3, 2), k)


def test_nearest_pictures_refuses_vectors_of_another_size():
    with pytest.raises(ValueError, match="vectors of size 3 received, 2 expected"):
        nearest_pictures(torch.ones(1, 3), torch.ones(3, 2), 1)


def test_similarity_by_hand():
    # two pictures: idf of a word of one picture is log 2, of a word of both 0
    similarity = caption_similarity([["red dog", "red cat"], ["blue dog"]])
    # words: "red dog" is only red (dog is everywhere): cosine with "red cat" is 1 / sqrt(2);
    # no pair of words is shared, longer n-grams there are none
    assert similarity[0, 1] == pytest.approx(2**-0.5 / 4)
    assert similarity[0, 2] == 0  # all they share is worth nothing
    assert similarity[0, 0] == pytest.approx(2 / 4)  # itself, as words and as pairs


def test_similarity_is_plain_cider():
    flat = [text for some in CAPTIONS for text in some]
    tokens = {i: [tokenize(t) for t in some] for i, some in enumerate(CAPTIONS)}
    frequency = DocumentFrequency.from_references(tokens)
    references = {i: [tokenize(text)] for i, text in enumerate(flat)}
    scorer = CiderScorer(references, frequency, plain=True)
    expected = [[scorer.score(j, tokenize(one)) / 10 for j in references] for one in flat]
    assert torch.allclose(caption_similarity(CAPTIONS), torch.tensor(expected), atol=1e-6)


def test_consensus_is_the_caption_the_others_resemble():
    pool = CaptionPool(CAPTIONS)
    assert pool.consensus([0]) in CAPTIONS[0][:2]  # not the odd one out
    # "brown dog runs on grass" shares the most with the dogs, and nothing with the boats
    assert "dog runs on" in pool.consensus([0, 1, 2])
    assert pool.consensus([2]) in CAPTIONS[2]


def test_consensus_of_equal_captions_is_the_nearest_pictures():
    pool = CaptionPool([["a b c d"], ["a b c d"], ["x y"]])
    assert consensus_captions(torch.tensor([[1, 0, 2]]), pool, 3) == ["a b c d"]
    assert pool.consensus([2, 0]) == "x y"  # neither resembles the other


def test_consensus_captions_use_the_first_k_only():
    pool = CaptionPool(CAPTIONS)
    neighbours = torch.tensor([[2, 0, 1], [0, 1, 2]])
    assert consensus_captions(neighbours, pool, 1) == [pool.consensus([2]), pool.consensus([0])]
    with pytest.raises(ValueError, match="k: 4 received, 1 to 3 expected"):
        consensus_captions(neighbours, pool, 4)


def test_a_picture_without_captions_is_refused():
    with pytest.raises(ValueError, match="picture 1 has none"):
        CaptionPool([["a"], []])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.text("ab ", min_size=1, max_size=8), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_similarity_is_symmetric_and_within_0_and_1(captions):
    similarity = caption_similarity(captions)
    assert torch.isfinite(similarity).all()
    assert torch.allclose(similarity, similarity.T)
    assert similarity.min() >= 0 and similarity.max() <= 1 + 1e-5
    assert CaptionPool(captions).consensus(range(len(captions))) in sum(captions, [])
