"""Negative captions: each kind by hand, what holds for any caption, chance, and the errors."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.clip.negatives import (
    KINDS,
    caption_words,
    corrupt,
    negative_caption,
    negatives,
    possible_kind,
)
from data_loader import mix_seeds
from vocabulary import Vocabulary

DOG = ["a", "red", "dog", "runs"]
VOCABULARY = ["a", "dog", "on", "runs", "sky"]
TWENTY = [f"word{i}" for i in range(20)]
FEW_WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=20)
EQUAL_WORDS = st.integers(1, 20).map(lambda length: ["a"] * length)
CAPTIONS = FEW_WORDS | EQUAL_WORDS
VOCABULARIES = st.lists(st.sampled_from("abcxyz"), max_size=6)


class Script:
    """A random number generator that answers as told, and checks what it is asked."""

    def __init__(self, *lines):
        self.lines = list(lines)

    def answer(self, *asked):
        expected, answer = self.lines.pop(0)
        assert asked == expected
        return answer

    def randint(self, low, high):
        return self.answer("randint", low, high)

    def randrange(self, stop):
        return self.answer("randrange", stop)

    def choice(self, words):
        return self.answer("choice", *words)

    def sample(self, places, number):
        return self.answer("sample", *places, number)

    def shuffle(self, words):
        words[:] = self.answer("shuffle", *words)


def changed(kind: str, *lines, words=DOG, vocabulary=VOCABULARY) -> str:
    script = Script(*lines)
    result = corrupt(words, kind, vocabulary, script)
    assert script.lines == []
    return " ".join(result)


def draws(words, kind, vocabulary, number: int) -> list[list[str]]:
    rng = random.Random(5)
    return [corrupt(words, kind, vocabulary, rng) for _ in range(number)]


def assert_shares(found: Counter, expected: dict, tolerance: float = 0.03) -> None:
    assert set(found) == set(expected)
    for value, share in expected.items():
        assert abs(found[value] / found.total() - share) < tolerance, value


# ---------------------------------------------------------------------------- each kind by hand


def test_repeat_by_hand():
    result = changed(
        "repeat",
        (("randint", 1, 3), 2),  # words a run
        (("randint", 0, 2), 1),  # red dog
        (("randint", 1, 3), 2),  # copies
        (("randint", 0, 4), 0),
        (("randint", 0, 6), 6),  # the end is a place
    )
    assert result == "red dog a red dog runs red dog"


def test_repeat_copies_what_was_there_at_first():
    result = changed(
        "repeat",
        (("randint", 1, 3), 2),
        (("randint", 0, 2), 0),  # a red
        (("randint", 1, 3), 2),
        (("randint", 0, 4), 1),  # a [a red] red dog runs
        (("randint", 0, 6), 6),
    )
    assert result == "a a red red dog runs a red"


def test_remove_by_hand():
    lines = (("randint", 1, 3), 3), (("randint", 0, 1), 1)
    assert changed("remove", *lines) == "a"
    lines = (("randint", 1, 3), 1), (("randint", 0, 3), 3)
    assert changed("remove", *lines) == "a red dog"


def test_insert_by_hand():
    result = changed(
        "insert",
        (("randint", 1, 3), 2),
        (("randrange", 4), 3),  # before the last word at the latest
        (("choice", *VOCABULARY), "sky"),
        (("randrange", 5), 0),
        (("choice", *VOCABULARY), "on"),
    )
    assert result == "on a red dog sky runs"


def test_swap_by_hand():
    result = changed(
        "swap",
        (("randint", 1, 3), 2),
        (("sample", 0, 1, 2, 3, 2), [3, 0]),
        (("choice", *VOCABULARY), "runs"),  # the word itself: one of the others instead
        (("choice", "a", "dog", "on", "sky"), "sky"),
        (("choice", *VOCABULARY), "dog"),
    )
    assert result == "dog red dog sky"


def test_swap_takes_only_words_for_which_there_is_another():
    result = changed(
        "swap",
        (("randint", 1, 3), 3),
        (("sample", 1, 1), [1]),
        (("choice", "sky"), "sky"),
        words=["sky", "dog", "sky"],
        vocabulary=["sky"],
    )
    assert result == "sky sky sky"


def test_shuffle_by_hand_is_drawn_again_if_nothing_moved():
    result = changed("shuffle", (("shuffle", *DOG), DOG), (("shuffle", *DOG), DOG[::-1]))
    assert result == "runs dog red a"


def test_runs_are_no_longer_than_the_caption():
    lines = (("randint", 1, 2), 2), (("randint", 0, 0), 0), (("randint", 1, 3), 1)
    assert changed("repeat", *lines, (("randint", 0, 2), 1), words=["a", "dog"]) == "a a dog dog"
    lines = (("randint", 1, 1), 1), (("randint", 0, 1), 0)  # one of the two words stays
    assert changed("remove", *lines, words=["a", "dog"]) == "dog"


# ------------------------------------------------------------------------------- any caption


@settings(max_examples=600, deadline=None)
@given(CAPTIONS, st.sampled_from(KINDS), VOCABULARIES, st.integers(0, 1 << 62))
def test_any_caption_any_kind(words, kind, vocabulary, seed):
    before, known = list(words), set(words) | set(vocabulary)
    result = corrupt(words, kind, vocabulary, random.Random(seed))
    assert result and result != words
    assert set(result) <= known
    assert words == before
    assert result == corrupt(tuple(words), kind, tuple(vocabulary), random.Random(seed))
    applied = possible_kind(words, kind, vocabulary)
    assert result == corrupt(words, applied, vocabulary, random.Random(seed))
    assert is_change(applied, words, result, vocabulary)


@settings(max_examples=300, deadline=None)
@given(CAPTIONS, VOCABULARIES, st.integers(0, 1 << 62))
def test_the_kind_that_is_named_was_applied(words, vocabulary, seed):
    result, kind = negative_caption(words, vocabulary, random.Random(seed))
    assert result != words
    assert is_change(kind, words, result, vocabulary)


def is_change(kind, words, result, vocabulary) -> bool:
    """Whether this kind can have made `result` out of `words`."""
    more = len(result) - len(words)
    if kind == "repeat":
        longest = min(3, len(words))
        sizes = {n * times for n in range(1, longest + 1) for times in (1, 2, 3)}
        return more in sizes and is_part(words, result) and set(result) == set(words)
    if kind == "remove":
        cuts = [words[:i] + words[i - more :] for i in range(len(result) + 1)]
        return -3 <= more <= -1 and result in cuts
    if kind == "insert":
        added = Counter(result) - Counter(words)
        in_order = is_part(words, result) and result[-1] == words[-1]
        return 1 <= more <= 3 and in_order and set(added) <= set(vocabulary)
    if kind == "swap":
        new = [b for a, b in zip(words, result, strict=False) if a != b]
        return more == 0 and 1 <= len(new) <= 3 and set(new) <= set(vocabulary)
    return kind == "shuffle" and sorted(result) == sorted(words)


def is_part(words, result) -> bool:
    """Whether `words` are in `result` in their order, with or without others between them."""
    rest = iter(result)
    return all(word in rest for word in words)


def test_what_the_check_of_a_change_refuses():
    assert not is_change("repeat", DOG, [*DOG, "sky"], VOCABULARY)
    assert not is_change("remove", DOG, ["a", "dog"], VOCABULARY)  # two places
    assert not is_change("insert", DOG, [*DOG, "sky"], VOCABULARY)  # at the end
    assert not is_change("swap", DOG, [*DOG[:3], "cat"], VOCABULARY)  # no known word
    assert not is_change("shuffle", DOG, ["a", "a", "dog", "runs"], VOCABULARY)


# --------------------------------------------------------------------------------- fallbacks


@pytest.mark.parametrize(
    ("caption", "vocabulary", "expected"),
    [
        ("a red dog", "a sky", {}),
        ("dog", "a sky", {"remove": "insert", "shuffle": "insert"}),
        ("dog dog", "a sky", {"shuffle": "insert"}),
        ("dog", "dog", {"remove": "insert", "shuffle": "insert", "swap": "repeat"}),
        ("dog dog", "dog dog", {"shuffle": "insert", "swap": "repeat"}),
        ("a dog", "dog", {}),  # "a" can become "dog"
        ("a dog", "", {"insert": "repeat", "swap": "repeat"}),
        ("dog", "", dict.fromkeys(KINDS, "repeat")),
    ],
)
def test_the_kind_that_takes_the_place_of_another(caption, vocabulary, expected):
    words, known = caption.split(), vocabulary.split()
    found = {kind: possible_kind(words, kind, known) for kind in KINDS}
    assert found == {kind: kind for kind in KINDS} | expected


def test_one_word_is_inserted_before_when_nothing_can_be_removed():
    lines = (("randint", 1, 3), 1), (("randrange", 1), 0), (("choice", "sky", "on"), "on")
    result = changed("remove", *lines, words=["dog"], vocabulary=["sky", "on"])
    assert result == "on dog"


def test_the_kind_is_that_which_was_applied():
    rng = Script(
        (("choice", *KINDS), "shuffle"),
        (("randint", 1, 1), 1),
        (("randint", 0, 0), 0),
        (("randint", 1, 3), 1),
        (("randint", 0, 1), 1),
    )
    assert negative_caption(["dog"], [], rng) == (["dog", "dog"], "repeat")


# ------------------------------------------------------------------------------------ chance


def test_kinds_are_equally_frequent():
    rng = random.Random(1)
    kinds = Counter(negative_caption(TWENTY, VOCABULARY, rng)[1] for _ in range(5000))
    assert_shares(kinds, dict.fromkeys(KINDS, 1 / 5), tolerance=0.02)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("repeat", {1: 1 / 9, 2: 2 / 9, 3: 2 / 9, 4: 1 / 9, 6: 2 / 9, 9: 1 / 9}),
        ("remove", {-1: 1 / 3, -2: 1 / 3, -3: 1 / 3}),
        ("insert", {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}),
    ],
)
def test_sizes_are_equally_frequent(kind, expected):
    results = draws(TWENTY, kind, VOCABULARY, 3000)
    assert_shares(Counter(len(result) - 20 for result in results), expected)


def test_numbers_of_swaps_are_equally_frequent():
    results = draws(TWENTY, "swap", VOCABULARY, 3000)
    swaps = (sum(word in VOCABULARY for word in result) for result in results)
    assert_shares(Counter(swaps), {1: 1 / 3, 2: 1 / 3, 3: 1 / 3})


def test_every_other_word_is_swapped_in_equally_often():
    results = draws(["a"], "swap", ["a", "b", "a", "c", "a", "d"], 3000)
    assert_shares(Counter(word for (word,) in results), {"b": 1 / 3, "c": 1 / 3, "d": 1 / 3})


def test_every_other_order_is_equally_frequent():
    orders = Counter("".join(result) for result in draws(["a", "b", "c"], "shuffle", [], 3000))
    assert_shares(orders, dict.fromkeys(["acb", "bac", "bca", "cab", "cba"], 1 / 5))


def test_every_place_is_reached():
    inserted = draws(["a", "b", "c"], "insert", ["x"], 200)
    assert {"xabc", "axbc", "abxc"} == {"".join(one) for one in inserted if len(one) == 4}
    removed = {"".join(one) for one in draws(["a", "b", "c", "d"], "remove", [], 300)}
    assert removed == {"bcd", "acd", "abd", "abc", "cd", "ad", "ab", "a", "d"}
    repeated = {"".join(one) for one in draws(["a", "b"], "repeat", [], 200) if len(one) == 3}
    assert repeated == {"aab", "aba", "bab", "abb"}


# ----------------------------------------------------------------------------- a set of them


def captions_of(number: int) -> list[list[str]]:
    rng = random.Random(2)
    return [rng.choices(VOCABULARY, k=rng.randint(1, 12)) for _ in range(number)]


def test_a_negative_follows_from_seed_epoch_and_position():
    found = negatives(captions_of(9), VOCABULARY, seed=3, epoch=2)
    assert found == negatives(captions_of(9), VOCABULARY, seed=3, epoch=2)
    rng = random.Random(mix_seeds(3, 2, 7))
    assert found[7] == negative_caption(captions_of(9)[7], VOCABULARY, rng)[0]


def test_parts_give_what_the_whole_set_gives():
    captions = captions_of(50)
    whole = negatives(captions, VOCABULARY, seed=3, epoch=1)
    parts = [negatives(captions[i : i + 7], VOCABULARY, 3, 1, first=i) for i in range(0, 50, 7)]
    assert [one for part in parts for one in part] == whole


def test_the_other_captions_do_not_matter():
    captions = captions_of(50)
    others = [[*words, "sky"] if i != 20 else words for i, words in enumerate(captions)]
    one, two = (negatives(some, VOCABULARY, seed=3) for some in (captions, others))
    assert one[20] == two[20]
    assert one != two


def test_seeds_epochs_and_positions_give_other_negatives():
    same = [TWENTY] * 50
    found = negatives(same, VOCABULARY, seed=3)
    assert len(set(map(tuple, found))) > 40
    for other in (negatives(same, VOCABULARY, 4), negatives(same, VOCABULARY, 3, epoch=1)):
        assert sum(a == b for a, b in zip(found, other, strict=True)) < 5


def test_nothing_else_draws_or_changes():
    captions = captions_of(20)
    random.seed(0)
    state = random.getstate()
    negatives(captions, VOCABULARY, seed=3)
    assert random.getstate() == state
    assert captions == captions_of(20)


def test_from_captions_as_written():
    texts = ["A dog's ball.", "...", "", "Two dogs, one ball!"]
    words = caption_words(texts)
    assert words == [["a", "dog", "'s", "ball"], ["two", "dogs", "one", "ball"]]
    ordinary = Vocabulary.build(texts, min_count=1).words[4:]
    first, second = negatives(words, ordinary, seed=1)
    assert first != words[0] and second != words[1]
    assert set(first) | set(second) <= set(ordinary)


def test_no_captions_no_negatives():
    assert negatives([], VOCABULARY, seed=1) == []
    assert caption_words([]) == []


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_caption_is_refused(kind):
    message = "words: an empty caption received, one word or more expected"
    with pytest.raises(ValueError, match=message):
        corrupt([], kind, VOCABULARY, random.Random(1))


def test_an_empty_caption_among_others_is_refused():
    with pytest.raises(ValueError, match="words: an empty caption received"):
        negatives([DOG, []], VOCABULARY, seed=1)
    with pytest.raises(ValueError, match="words: an empty caption received"):
        negative_caption([], VOCABULARY, random.Random(1))


def test_an_unknown_kind_is_refused():
    message = (
        r"kind: 'reverse' received, one of "
        r"\['repeat', 'remove', 'insert', 'swap', 'shuffle'\] expected"
    )
    with pytest.raises(ValueError, match=message):
        corrupt(DOG, "reverse", VOCABULARY, random.Random(1))
