"""Words, ids, and what a damaged vocabulary file says."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabulary import (
    END_IDX,
    PAD_IDX,
    PUNCTUATION,
    SPECIAL_WORDS,
    START_IDX,
    UNK_IDX,
    Vocabulary,
    join_words,
    tokenize,
)

CAPTIONS = ["A dog runs.", "A dog's ball", "a DOG and a cat!"]  # a 4, dog 3, and/ball/cat/runs/'s 1


# ---- tokenizer ----


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A dog's ball.", "a dog 's ball"),
        ("Two dogs. They run!  Fast?", "two dogs they run fast"),
        ("He isn't here; we're.", "he is n't here we 're"),
        ('a "red" (big) box, on-off', "a red big box on-off"),
        ("a man - tall -- waits...", "a man tall waits"),
        ("  tabs\tand\nlines ", "tabs and lines"),
        ("3.5 metres, 1,000 people", "3.5 metres 1,000 people"),
        ("", ""),
        (" ... !?", ""),
    ],
)
def test_tokenize_by_hand(caption, words):
    assert tokenize(caption) == words.split()


@given(st.text(max_size=60))
def test_tokens_are_lower_case_words_without_blanks_or_punctuation(text):
    for word in tokenize(text):
        assert word and word == word.lower() and not any(map(str.isspace, word))
        assert word not in PUNCTUATION and word not in SPECIAL_WORDS


@given(st.text(max_size=60))
def test_tokenize_does_not_depend_on_blanks_around(text):
    assert tokenize(f" \n{text}\t ") == tokenize(text)


@pytest.mark.parametrize("name", ["flickr8k_1k_test", "abstract48S_B"])
def test_tokenizer_agrees_with_the_java_tokenizer(reference_data, name):
    folder = reference_data / "data" / "metric_reference"
    raw = json.loads((folder / f"{name}.json").read_text("utf-8"))
    java = json.loads((folder / f"{name}_tokenized.json").read_text("utf-8"))
    keys = [*raw["refs"]][:50]
    pairs = [p for i in keys for p in zip(raw["refs"][i], java["refs"][i], strict=True)]
    same = sum(tokenize(text) == expected.split() for text, expected in pairs)
    assert same / len(pairs) > 0.99


# ---- sentences ----


def test_join_words_writes_clitics_without_a_blank():
    assert (
        join_words(["the", "dog", "'s", "ball", "is", "n't", "red"]) == "The dog's ball isn't red"
    )
    assert join_words(["a", "dog"], capitalize=False) == "a dog"
    assert join_words([]) == ""


def test_a_joined_sentence_has_the_same_words(reference_data):
    path = reference_data / "data" / "metric_reference" / "flickr8k_1k_test.json"
    captions = json.loads(path.read_text("utf-8"))["cands"].values()
    assert all(tokenize(join_words(tokenize(text))) == tokenize(text) for text in captions)


# ---- vocabulary ----


def test_ids_follow_falling_counts_then_the_alphabet():
    vocabulary = Vocabulary.build(CAPTIONS, min_count=1)
    assert vocabulary.words == (*SPECIAL_WORDS, "a", "dog", "'s", "and", "ball", "cat", "runs")
    assert (PAD_IDX, START_IDX, END_IDX, UNK_IDX) == (0, 1, 2, 3)


def test_threshold_is_inclusive():
    assert Vocabulary.build(CAPTIONS, min_count=3).words[4:] == ("a", "dog")
    assert Vocabulary.build(CAPTIONS, min_count=4).words[4:] == ("a",)
    with pytest.raises(ValueError, match=r"min_count: 5 received.*none of the 7 different words"):
        Vocabulary.build(CAPTIONS, min_count=5)
    with pytest.raises(ValueError, match="min_count: 0 received, 1 or more expected"):
        Vocabulary.build(CAPTIONS, min_count=0)


def test_encode_and_decode_by_hand():
    vocabulary = Vocabulary.build(CAPTIONS, min_count=3)
    ids = vocabulary.encode("A cat, a dog")
    assert ids == [START_IDX, 4, UNK_IDX, 4, 5, END_IDX]
    assert vocabulary.decode([*ids, PAD_IDX, PAD_IDX]) == "A <unk> a dog."
    assert vocabulary.encode("a a a dog", max_length=2) == [START_IDX, 4, 4, END_IDX]
    assert vocabulary.encode("") == [START_IDX, END_IDX]
    assert vocabulary.decode([START_IDX, END_IDX]) == ""
    assert vocabulary.decode([4, END_IDX, 5]) == "A."  # nothing counts behind <end>


@pytest.mark.parametrize("index", [-1, 6, 10**6])
def test_decode_refuses_ids_outside(index):
    vocabulary = Vocabulary.build(CAPTIONS, min_count=3)
    with pytest.raises(ValueError, match=f"ids: {index} received, 0 to 5 expected"):
        vocabulary.decode([index])


@given(st.lists(st.text("abcdefgh'", min_size=1, max_size=6), min_size=1, max_size=12))
def test_known_words_survive_the_round_trip(words):
    caption = " ".join(words)
    if not tokenize(caption):
        return
    vocabulary = Vocabulary.build([caption], min_count=1)
    assert vocabulary.decode_words(vocabulary.encode(caption)) == tokenize(caption)


def test_words_must_be_different():
    with pytest.raises(ValueError, match="'dog' appears twice"):
        Vocabulary(["dog", "cat", "dog"])
    with pytest.raises(ValueError, match="'<unk>' appears twice"):
        Vocabulary(["dog", "<unk>"])


def test_coverage_by_hand():
    coverage = Vocabulary(["a", "dog"]).coverage(["A dog", "A cat runs", "a dog and a cat"])
    assert coverage.num_tokens == 10
    assert coverage.known_tokens == pytest.approx(6 / 10)  # a 4 times, dog twice
    assert coverage.num_words == 5
    assert coverage.known_words == pytest.approx(2 / 5)
    assert coverage.known_captions == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="captions: no words received"):
        Vocabulary(["a"]).coverage(["", "..."])


def test_hash_and_equality_follow_words_and_order():
    one, same = Vocabulary(["a", "dog"], 3), Vocabulary(["a", "dog"], 7)
    turned = Vocabulary(["dog", "a"], 3)
    assert one == same and hash(one) == hash(same) and one.content_hash == same.content_hash
    assert one != turned and one.content_hash != turned.content_hash
    assert one.content_hash != Vocabulary(["a dog"]).content_hash
    assert len(one) == 6 and "dog" in one and "cat" not in one


# ---- files ----


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary(["a", "façade", "'s", '"x"'], 2)
    vocabulary.save(tmp_path / "words.json")
    loaded = Vocabulary.load(tmp_path / "words.json")
    assert loaded == vocabulary and loaded.min_count == 2


GOOD = Vocabulary(["a", "dog"]).to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON vocabulary"),
        ("", "not a JSON vocabulary"),
        ("[1, 2]", "a list 'words' that begins with"),
        ('{"words": "abc"}', "a list 'words' that begins with"),
        (json.dumps({"words": ["a", "dog"]}), "a list 'words' that begins with"),
        (json.dumps({"words": [*SPECIAL_WORDS, "a", 7]}), "word 7 found, text expected"),
        (json.dumps({"words": [*SPECIAL_WORDS, "a", "a"]}), "'a' appears twice"),
        (json.dumps(GOOD | {"words": [*SPECIAL_WORDS, "dog", "a"]}), "edited or damaged"),
    ],
)
def test_damaged_files_are_named_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "words.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError) as caught:
        Vocabulary.load(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "words.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a JSON vocabulary"):
        Vocabulary.load(tmp_path / "words.json")
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "nothing.json")


@given(st.text("abcinotgmelwdry109 .?!'", max_size=40))
def test_plain_captions_are_split_as_treebank_splits_them(caption: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vocabulary._PLAIN", re.compile(r"(?!)"))  # nothing is plain
        slowly = tokenize(caption)
    assert tokenize(caption) == slowly


@pytest.mark.parametrize("word", ["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"])
def test_treebank_splits_these_words_also_in_plain_captions(word: str) -> None:
    assert len(tokenize(f"they {word} dance")) == 4
