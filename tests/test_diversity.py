"""Diversity of captions, novelty, oracle and average: numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from captioning.evaluation.diversity import (
    distinct_ngrams,
    diversity,
    mutual_bleu,
    novel_share,
    self_ciders,
    vocabulary_size,
)
from captioning.evaluation.metrics import score_captions
from captioning.evaluation.several import add_samples, oracle_and_average, score_rounds

EQUAL = ["a dog runs fast", "A dog runs fast."]
UNLIKE = ["a dog runs fast", "two birds sit quietly"]
PEOPLE = {1: ["A dog runs.", "The dog is fast."], 2: ["Two birds."], 3: ["A cat sleeps quietly."]}


def test_distinct_words_and_pairs_by_the_number_of_words():
    captions = [["a", "dog", "runs"], ["a", "dog", "sits"]]
    assert distinct_ngrams(captions, 1) == pytest.approx(4 / 6)  # a, dog, runs, sits
    assert distinct_ngrams(captions, 2) == pytest.approx(3 / 6)  # a dog, dog runs, dog sits
    assert distinct_ngrams([[], []], 1) == 0


def test_mutual_bleu_is_that_of_the_set_and_of_each_picture():
    """Of two pictures one repeats itself: all n-grams match there, none in the other."""
    tokens = {1: [text.lower().strip(".").split() for text in EQUAL], 2: [*map(str.split, UNLIKE)]}
    overall, per_image = mutual_bleu(tokens)
    assert overall == pytest.approx(0.5, abs=1e-6)  # 4/8, 3/6, 2/4, 1/2 in both rounds
    assert per_image[1] == pytest.approx(1, abs=1e-6) and per_image[2] < 1e-3


def test_mutual_bleu_takes_every_caption_as_the_candidate_once():
    """Third caption: a, b and a b are found among the others, d and b d are not; and so on."""
    tokens = {1: ["a b c d".split(), "a b c d".split(), "a b d d".split()]}
    _, per_image = mutual_bleu(tokens)
    last = (3 / 4 * 1 / 3 * 1e-15 / 2 * 1e-15 / 1) ** 0.25  # of "d d" one d matches
    assert per_image[1] == pytest.approx((1 + 1 + last) / 3, abs=1e-5)


def test_self_cider_of_equal_and_of_unlike_captions():
    tokens = {1: [["a", "dog", "runs", "fast"]] * 2, 2: [text.split() for text in UNLIKE]}
    values = self_ciders(tokens, PEOPLE)
    assert values[1] == pytest.approx(0, abs=1e-3) and values[2] == pytest.approx(1, abs=1e-3)


def test_self_cider_weighs_words_by_the_references():
    """Two captions that share "a", which two of three pictures have, and no pair of words."""
    values = self_ciders({1: [["a", "dog"], ["a", "bird"]]}, PEOPLE)
    common, rare = math.log(3 / 2), math.log(3)
    unigrams = common**2 / (common**2 + rare**2)  # cosine; orders two to four: 0, or no n-gram
    kernel = [(1 + 1) / 4, unigrams / 4]  # diagonal: two orders have n-grams
    roots = [math.sqrt(kernel[0] + kernel[1]), math.sqrt(kernel[0] - kernel[1])]
    expected = -math.log(roots[0] / sum(roots)) / math.log(2)
    assert values[1] == pytest.approx(expected, abs=1e-5)


def test_the_table_of_a_set():
    result = diversity({1: EQUAL, 2: UNLIKE}, PEOPLE)
    assert list(result["overall"]) == ["Div_1", "Div_2", "mBLEU_4", "self_CIDEr"]
    first, second = result["per_image"]
    assert (first["image_id"], first["Div_1"], first["Div_2"]) == (1, 4 / 8, 3 / 8)
    assert (second["Div_1"], second["Div_2"]) == (1, 6 / 8)
    assert result["overall"]["Div_1"] == 0.75
    assert "self_CIDEr" not in diversity({1: EQUAL})["overall"]


@pytest.mark.parametrize("samples", [{}, {1: ["a"]}, {1: ["a", "b"], 2: ["a", "b", "c"]}])
def test_too_few_captions_are_refused(samples):
    with pytest.raises(ValueError, match="samples: .* 2 or more, for each expected"):
        diversity(samples)


def test_captions_without_words_are_no_diversity():
    entry = diversity({1: ["", ""], 2: UNLIKE}, PEOPLE)["per_image"][0]
    assert [entry[key] for key in ("Div_1", "Div_2", "self_CIDEr")] == [0, 0, 0]


def test_many_captions_are_handled_in_parts(monkeypatch):
    tokens = {i: [text.split() for text in (EQUAL, UNLIKE)[i % 2]] for i in range(7)}
    whole = self_ciders(tokens, PEOPLE)
    monkeypatch.setattr("captioning.evaluation.diversity.CHUNK", 1)
    assert self_ciders(tokens, PEOPLE) == pytest.approx(whole)


def test_words_and_novel_captions():
    said = ["A dog.", "a dog", "A boardwalk!", "A cat."]
    training = ["a Dog!", "A board walk.", "Some other words"]  # the same letters, other words
    assert novel_share(said, training) == 0.5
    assert novel_share(said, []) == 1
    assert vocabulary_size(said) == 4


def test_oracle_and_average():
    rounds = [{1: {"CIDEr": 1.0}, 2: {"CIDEr": 0.5}}, {1: {"CIDEr": 0.2}, 2: {"CIDEr": 0.9}}]
    result = oracle_and_average(rounds)
    assert result["overall"] == pytest.approx({"oracle_CIDEr": 0.95, "average_CIDEr": 0.65})
    assert result["per_image"][0] == pytest.approx(
        {"image_id": 1, "oracle_CIDEr": 1.0, "average_CIDEr": 0.6}
    )


def test_rounds_are_the_scores_of_the_kth_captions():
    samples = {1: EQUAL, 2: UNLIKE}
    references = {i: PEOPLE[i] for i in samples}
    (second,) = score_rounds(references, samples, ["ROUGE_L", "CIDEr"], first=1)
    alone = score_captions(references, {i: texts[1] for i, texts in samples.items()})
    for entry in alone["per_image"]:
        assert second[entry["image_id"]] == {k: entry[k] for k in ("ROUGE_L", "CIDEr")}


def test_all_captions_join_a_result():
    samples = {
        i: [{"caption": c, "logprob": -1.0} for c in s] for i, s in ((1, EQUAL), (2, UNLIKE))
    }
    references = {i: PEOPLE[i] for i in samples}
    best = {i: some[0]["caption"] for i, some in samples.items()}
    result = score_captions(references, best, ["cider"])
    add_samples(result, references, samples)
    for entry in result["per_image"]:
        scores = [sample["CIDEr"] for sample in entry["samples"]]
        assert scores[0] == entry["CIDEr"] and entry["oracle_CIDEr"] == max(scores)
        assert entry["samples"][1]["caption"] == samples[entry["image_id"]][1]["caption"]
        assert entry["samples"][1]["logprob"] == -1 and "Div_2" in entry
    assert result["overall"]["average_CIDEr"] <= result["overall"]["oracle_CIDEr"]
    assert "samples" not in result["overall"] and "image_id" not in result["overall"]
