"""BLEU, ROUGE-L, CIDEr and the call that unites them: by hand, by property, by reference scores."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import fixture_case, reference_cases

from captioning.evaluation.bleu import bleu
from captioning.evaluation.cider import CiderScorer, cider
from captioning.evaluation.metrics import (
    DEFAULT_METRICS,
    METRICS,
    choose_metrics,
    leave_one_out,
    score_captions,
)
from captioning.evaluation.ngrams import DocumentFrequency, count_ngrams
from captioning.evaluation.rouge import longest_common_subsequence, rouge_l

OWN_METRICS = (*DEFAULT_METRICS, "CIDEr_plain")
# the large sets of the reference go through files, in test_score_command.py
CASES = [fixture_case(), *(case for case in reference_cases() if "flickr" in case.name)]


def words(**captions: str) -> dict[str, list[str]]:
    return {image_id: text.split() for image_id, text in captions.items()}


def lists(**captions: list[str]) -> dict[str, list[list[str]]]:
    return {image_id: [text.split() for text in texts] for image_id, texts in captions.items()}


# ---- worked by hand ----


def test_bleu_of_a_short_caption_is_precision_times_brevity():
    overall, per_image = bleu(lists(a=["the cat sat on the mat"]), words(a="the cat sat"))
    penalty = math.exp(1 - 6 / 3)  # every n-gram is right, half of the length is missing
    assert per_image["a"][:3] == pytest.approx([penalty] * 3, rel=1e-6)
    # no 4-gram at all: coco-caption's constants leave (1e-15 / 1e-9) ** (1/4)
    assert per_image["a"][3] == pytest.approx(penalty * 1e-6**0.25, rel=1e-6)
    assert overall == per_image["a"]


def test_bleu_clips_by_the_largest_count_in_one_reference():
    references = lists(a=["the cat is on the mat", "there is a cat on the mat"])
    overall, _ = bleu(references, words(a="the the the the the the the"))
    assert overall[0] == pytest.approx(2 / 7)


def test_bleu_compares_with_the_closest_length_and_the_shorter_of_two():
    overall, _ = bleu(lists(a=["x x", "a b c d"]), words(a="a b c"))
    assert overall[0] == pytest.approx(1.0)  # lengths 2 and 4 are equally close: 2, no penalty
    overall, _ = bleu(lists(a=["x", "a b c d"]), words(a="a b c"))
    assert overall[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_corpus_bleu_sums_counts_before_dividing():
    references = lists(a=["a b c d"], b=["x y"])
    overall, per_image = bleu(references, words(a="a b c d", b="q q"))
    assert [per_image["a"][0], per_image["b"][0]] == pytest.approx([1, 0])
    assert overall[0] == pytest.approx(4 / 6)  # not the mean, 1/2


def test_rouge_l_takes_best_precision_and_best_recall_apart():
    references = lists(a=["a b x x x x x x", "d"])
    overall, _ = rouge_l(references, words(a="a b c d"))
    precision, recall = 2 / 4, 1 / 1  # from the first and from the second reference
    assert overall == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))


def test_longest_common_subsequence_keeps_the_order():
    assert longest_common_subsequence("a dog runs fast".split(), "a brown dog runs".split()) == 3
    assert longest_common_subsequence("b a".split(), "a b".split()) == 1
    assert longest_common_subsequence([], ["a"]) == 0


def test_cider_by_hand():
    references = lists(one=["a dog"], two=["a cat"])
    # df of "a" is 2 of 2 images: weight 0. "dog" and "a dog" weigh log 2 each.
    _, per_image = cider(references, words(one="a dog", two="a cat"))
    assert per_image["one"] == pytest.approx(10 * (1 + 1 + 0 + 0) / 4)
    # "a dog dog": dog twice, clipped to once; bigrams "a dog", "dog dog"; one bigram too many
    clipped = 10 * (1 / 2 + 1 / math.sqrt(2)) / 4 * math.exp(-1 / 72)
    plain = 10 * (1 + 1 / math.sqrt(2)) / 4
    candidates = words(one="a dog dog", two="a cat")
    assert cider(references, candidates)[1]["one"] == pytest.approx(clipped)
    assert cider(references, candidates, plain=True)[1]["one"] == pytest.approx(plain)


def test_cider_averages_over_references():
    references = lists(one=["a dog", "x y"], two=["a cat", "u v"])
    _, per_image = cider(references, words(one="a dog", two="a cat"))
    assert per_image["one"] == pytest.approx(10 * (2 / 4) / 2)


def test_document_frequency_counts_images_once_and_the_end_token_when_asked():
    references = lists(one=["a dog", "a dog dog"], two=["a cat", "the cat"])
    table = DocumentFrequency.from_references(references)
    assert table.counts == {("a",): 2}  # others occur in one image only, like an unseen n-gram
    assert table.idf(("a",)) == 0 and table.idf(("dog",)) == pytest.approx(math.log(2))
    ended = DocumentFrequency.from_references(references, end_token="<end>")
    assert ended.counts == {("a",): 2, ("<end>",): 2}
    # with the end token "dog <end>" is a bigram like any other: 1 of 2 reference bigrams is shared
    scorer = CiderScorer(lists(one=["a dog"]), ended)
    assert scorer.score("one", ["a", "dog"]) == pytest.approx(10 * 3 / 4)
    assert scorer.score("one", ["a"]) < scorer.score("one", ["dog"]) < 7.5


def test_looking_up_an_unseen_ngram_stores_nothing():
    table = DocumentFrequency.from_references(lists(one=["a dog"], two=["a cat"]))
    before = dict(table.counts)
    CiderScorer(lists(one=["a dog"]), table).score("one", "never seen words".split())
    assert table.counts == before


@pytest.mark.parametrize("as_ids", [False, True])
def test_document_frequency_survives_a_file(tmp_path, as_ids):
    references = lists(one=["a dog", "the dog"], two=["a cat", "the cat"])
    if as_ids:
        ids = {"a": 4, "dog": 5, "the": 6, "cat": 7}
        references = {i: [[ids[w] for w in c] for c in cs] for i, cs in references.items()}
    table = DocumentFrequency.from_references(references, end_token=2 if as_ids else "<end>")
    table.save(tmp_path / "df.json")
    loaded = DocumentFrequency.load(tmp_path / "df.json")
    assert loaded.counts == table.counts and len(loaded.counts) == 3
    assert (loaded.num_documents, loaded.end_token) == (table.num_documents, table.end_token)


def test_document_frequency_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json does not exist"):
        DocumentFrequency.load(tmp_path / "none.json")
    for text in ("not json", "[]", '{"counts": {}}', '{"tokens": "words", "counts": {"a": "x"}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="bad.json is not a table"):
            DocumentFrequency.load(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="num_documents: 0 received"):
        DocumentFrequency({}, 0)
    with pytest.raises(ValueError, match="in 3 images received, at most"):
        DocumentFrequency({("a",): 3}, 2)
    with pytest.raises(ValueError, match="no images"):
        DocumentFrequency.from_references({})
    with pytest.raises(ValueError, match="white space"):
        DocumentFrequency({("a b",): 2}, 2).save(tmp_path / "df.json")


# ---- the reference implementation ----


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scores_equal_the_reference_tools(case):
    metrics = [key for key in OWN_METRICS if key in case.corpus]
    result = score_captions(case.references, case.candidates, metrics, tokenizer="none")
    assert len(metrics) >= 6
    for key in metrics:
        assert result["overall"][key] == pytest.approx(case.corpus[key], abs=1e-9)
        ours = {entry["image_id"]: entry[key] for entry in result["per_image"]}
        assert ours == pytest.approx(case.per_image[key], abs=1e-9)


# ---- properties ----

tokens = st.lists(st.sampled_from("a dog cat sees the red ball".split()), max_size=8)
some_tokens = st.lists(
    st.sampled_from("a dog cat sees the red ball".split()), min_size=1, max_size=8
)
references_and_candidates = st.lists(
    st.tuples(st.lists(tokens, min_size=1, max_size=4), tokens), min_size=1, max_size=4
).map(
    lambda pairs: ({i: p[0] for i, p in enumerate(pairs)}, {i: p[1] for i, p in enumerate(pairs)})
)


def all_scores(references, candidates) -> dict[str, tuple[float, dict]]:
    overall, per_image = bleu(references, candidates)
    scores = {
        f"Bleu_{n + 1}": (overall[n], {i: values[n] for i, values in per_image.items()})
        for n in range(4)
    }
    scores["ROUGE_L"] = rouge_l(references, candidates)
    scores["CIDEr"] = cider(references, candidates)
    scores["CIDEr_plain"] = cider(references, candidates, plain=True)
    return scores


@settings(deadline=None, max_examples=150)
@given(references_and_candidates)
def test_scores_are_finite_and_in_range_and_nothing_scores_nothing(pair):
    references, candidates = pair
    for key, (overall, per_image) in all_scores(references, candidates).items():
        highest = 10 if key.startswith("CIDEr") else 1
        for value in (overall, *per_image.values()):
            assert math.isfinite(value) and 0 <= value <= highest + 1e-9
        for image_id, candidate in candidates.items():
            assert candidate or per_image[image_id] == 0


@settings(deadline=None, max_examples=80)
@given(references_and_candidates, st.randoms(use_true_random=False))
def test_the_order_of_references_and_images_does_not_matter(pair, shuffler: random.Random):
    references, candidates = pair
    shuffled = {i: shuffler.sample(captions, len(captions)) for i, captions in references.items()}
    order = shuffler.sample(list(candidates), len(candidates))
    before = all_scores(references, candidates)
    after = all_scores(shuffled, {i: candidates[i] for i in order})
    for key, (overall, per_image) in before.items():
        assert after[key][0] == pytest.approx(overall, abs=1e-9)
        assert after[key][1] == pytest.approx(per_image, abs=1e-9)


@settings(deadline=None, max_examples=80)
@given(st.lists(some_tokens, min_size=2, max_size=5), some_tokens)
def test_no_caption_beats_the_only_reference_itself(captions, other):
    references = {i: [caption] for i, caption in enumerate(captions)}
    same = all_scores(references, dict(enumerate(captions)))
    rival = all_scores(references, dict(enumerate(captions)) | {0: other})
    for key in same:
        assert same[key][1][0] >= rival[key][1][0] - 1e-9
    assert same["ROUGE_L"][1][0] == pytest.approx(1)
    assert same["Bleu_1"][1][0] == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(references_and_candidates)
def test_words_and_word_ids_score_the_same(pair):
    def as_ids(caption):
        return [len(word) * 100 + ord(word[0]) for word in caption]

    references, candidates = pair
    ids = {i: [as_ids(c) for c in captions] for i, captions in references.items()}
    assert all_scores(references, candidates) == all_scores(
        ids, {i: as_ids(caption) for i, caption in candidates.items()}
    )


@given(some_tokens)
def test_ngram_counts_add_up(caption):
    counts = count_ngrams(caption)
    assert [order.total() for order in counts] == [max(0, len(caption) - n) for n in range(4)]


# ---- the one call ----

PEOPLE = {7: ["A dog runs.", "The dog is running!"], 9: ["Two cats sit.", "A pair of cats"]}
MODEL = {7: "A dog runs.", 9: "Two cats sit."}


def test_score_captions_has_the_shape_of_the_design():
    result = score_captions(PEOPLE, MODEL, file_names={7: "dog.jpg"})
    assert set(result) == {"overall", "per_image", "settings"}
    assert list(result["overall"]) == list(DEFAULT_METRICS)
    first, second = result["per_image"]
    assert (first["image_id"], first["file_name"], first["caption"]) == (
        7,
        "dog.jpg",
        "A dog runs.",
    )
    assert "file_name" not in second
    assert set(DEFAULT_METRICS) <= set(first)
    assert result["settings"]["cider"]["document_frequency"] == "corpus"
    assert (result["settings"]["num_images"], result["settings"]["num_references"]) == (2, 4)


def test_the_tokenizer_makes_the_difference_between_dog_and_dog_with_a_full_stop():
    people, model = {1: ["a dog."], 2: ["a cat."]}, {1: "A dog", 2: "a cat."}
    with_tokenizer = score_captions(people, model, ["rouge_l"])["overall"]["ROUGE_L"]
    without = score_captions(people, model, ["rouge_l"], tokenizer="none")["overall"]["ROUGE_L"]
    assert with_tokenizer == pytest.approx(1) and without == pytest.approx(1 / 2)


def test_training_frequencies_add_a_metric_and_leave_cider_alone():
    table = DocumentFrequency.from_references(
        {i: [["a", "dog", "runs"]] for i in range(5)}, end_token="<end>"
    )
    with_table = score_captions(PEOPLE, MODEL, ["cider"], document_frequency=table)
    without = score_captions(PEOPLE, MODEL, ["cider"])
    assert list(with_table["overall"]) == ["CIDEr", "CIDEr_train_df"]
    assert with_table["overall"]["CIDEr"] == without["overall"]["CIDEr"]
    assert with_table["settings"]["cider_train_df"]["num_documents"] == 5
    # every word of the first caption is in all five documents, so all its weights vanish
    assert with_table["per_image"][0]["CIDEr_train_df"] < without["per_image"][0]["CIDEr"]


def test_an_empty_caption_scores_zero_and_does_no_harm():
    result = score_captions(PEOPLE, MODEL | {7: " ... "}, OWN_METRICS)
    assert [result["per_image"][0][key] for key in OWN_METRICS] == [0] * len(OWN_METRICS)
    assert result["per_image"][1]["CIDEr"] > 0
    result = score_captions({1: [""], 2: ["."]}, {1: "", 2: "a dog"}, OWN_METRICS)
    assert all(math.isfinite(value) for value in result["overall"].values())


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        ({}, {}, "references: no images received"),
        (PEOPLE, {7: "A dog."}, "candidates: image 9 without a caption"),
        (PEOPLE, MODEL | {"7": "A dog."}, r"image '7' not among the 2 images .* look like 7\)"),
        (PEOPLE, {}, r"2 images \(7, 9\) without a caption"),
        ({7: []}, {7: "A dog."}, "references: image 7 has none"),
    ],
)
def test_score_captions_refuses_what_does_not_fit(references, candidates, message):
    with pytest.raises(ValueError, match=message):
        score_captions(references, candidates)


def test_choose_metrics_knows_flags_and_refuses_the_rest():
    assert choose_metrics(["cider", "BLEU_4", " rouge_l"]) == ["Bleu_4", "ROUGE_L", "CIDEr"]
    assert all(choose_metrics([key]) == [key] for key in OWN_METRICS)
    assert set(OWN_METRICS) == set(METRICS) - {"METEOR", "SPICE", "CIDEr_train_df"}
    with pytest.raises(ValueError, match="'wer' received, some of bleu_1, .*cider_train_df"):
        choose_metrics(["wer"])
    with pytest.raises(ValueError, match="none received"):
        choose_metrics([])
    with pytest.raises(ValueError, match="cider_train_df needs the document frequencies"):
        choose_metrics(["cider_train_df"])
    with pytest.raises(ValueError, match="tokenizer: 'moses' received"):
        score_captions(PEOPLE, MODEL, tokenizer="moses")


def test_leave_one_out_is_the_mean_of_its_rounds():
    people = {
        1: ["a dog runs", "the dog runs", "a brown dog"],
        2: ["two cats sit", "two cats", "cats on a wall", "a fourth caption"],
    }
    result = leave_one_out(people, ["cider", "rouge_l"])
    by_hand = [
        score_captions(
            {i: texts[:k] + texts[k + 1 :] for i, texts in people.items()},
            {i: texts[k] for i, texts in people.items()},
            ["cider", "rouge_l"],
        )["overall"]
        for k in range(3)
    ]
    assert result["rounds"] == by_hand
    assert result["settings"]["num_rounds"] == 3
    for key in ("CIDEr", "ROUGE_L"):
        mean = sum(scores[key] for scores in by_hand) / 3
        assert result["overall"][key] == pytest.approx(mean)
        assert sum(e[key] for e in result["per_image"]) / 2 == pytest.approx(mean)


def test_leave_one_out_needs_two_captions():
    with pytest.raises(ValueError, match="image 2 has 1 caption.*two or more expected"):
        leave_one_out({1: ["a", "b"], 2: ["c"]})
    with pytest.raises(ValueError, match="no images"):
        leave_one_out({})
