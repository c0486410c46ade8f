"""The mirror test: pairs worked by hand, what is left out, and Wilson's interval."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.evaluation.mirror import (
    choice_test,
    mirror_test,
    sides_said,
    swap_sides,
    wilson_interval,
)

DOG, CAT = ("dog",), ("cat",)


@pytest.mark.parametrize(
    ("caption", "pairs"),
    [
        ("A dog is left of a cat.", [(DOG, CAT)]),
        ("A dog stands to the right of a cat in the snow.", [(CAT, DOG)]),
        ("A red cat on the left and a dog on the right.", [(CAT, DOG)]),
        ("A dog is in front of a cat.", []),
        ("A dog is left of a dog.", []),
        ("A dog left of.", []),
        ("", []),
    ],
)
def test_who_is_on_the_left(caption, pairs):
    assert sides_said(caption) == pairs


def test_each_kind_of_pair_by_hand():
    captions = {
        1: "A dog is left of a cat.",
        2: "A dog is left of a cat.",
        3: "A dog is left of a cat.",  # the same place in other words
        4: "A dog is left of a cat.",  # another noun
        5: "A dog is in front of a cat.",
        6: "A dog is left of a cat.",
    }
    mirrored = {
        1: "A dog is right of a cat.",
        2: "A dog is left of a cat.",
        3: "A cat is to the right of a dog.",
        4: "A dog is right of a horse.",
        5: "A dog is right of a cat.",
        6: "A white cat sits to the left of a dog.",
    }
    result = mirror_test(captions, mirrored)
    assert result == ([1, 6], [2, 3], [4, 5])
    assert result.share()[:3] == (2, 4, 0.5)
    backwards = mirror_test(mirrored, captions)
    assert backwards == result  # neither of the two is the original


def test_ids_must_be_the_same():
    with pytest.raises(ValueError, match="image 2 is known only once"):
        mirror_test({1: "A dog."}, {1: "A dog.", 2: "A cat."})


def test_swapping_sides_exchanges_both_words_and_nothing_else():
    caption = "Left of the cat, a bright dog; on the right-hand side a leftover."
    swapped = "Right of the cat, a bright dog; on the left-hand side a leftover."
    assert swap_sides(caption) == swapped and swap_sides(swapped) == caption
    assert sides_said(swap_sides("A dog is left of a cat.")) == [(CAT, DOG)]


def test_preferences_by_hand():
    likes = {1: (-3.0, -4.0), 2: (-3.0, -4.0), 3: (-5.0, -4.5), 4: (-3.0, -3.0)}
    mirrored = {1: (-4.0, -3.9), 2: (-3.9, -4.0), 3: (-4.0, -4.5), 4: (-3.0, -9.0)}
    assert choice_test(likes, mirrored) == ([1, 3], [2], [4])
    with pytest.raises(ValueError, match="image 4 is known only once"):
        choice_test(likes, {i: mirrored[i] for i in (1, 2, 3)})


def test_interval_by_hand():
    # 9 of 10 at z = 1.96: (0.9 + 0.19208) / 1.38416 and 1.96 sqrt(0.009 + 0.009604) / 1.38416
    share = wilson_interval(9, 10)
    assert share[:3] == (9, 10, 0.9)
    assert share.low == pytest.approx(0.5958, abs=1e-4)
    assert share.high == pytest.approx(0.9821, abs=1e-4)


def test_nothing_seen_says_nothing():
    assert wilson_interval(0, 0) == (0, 0, 0.0, 0.0, 1.0)
    assert mirror_test({}, {}).share()[3:] == (0.0, 1.0)


@given(total=st.integers(1, 500), data=st.data())
def test_interval_holds_the_share_and_solves_the_equation(total, data):
    """Its ends are the shares that lie z standard errors away from what was seen."""
    hits = data.draw(st.integers(0, total))
    share = wilson_interval(hits, total)
    assert 0 <= share.low <= share.share <= share.high <= 1
    for end in {share.low, share.high} - {0.0, 1.0}:
        distance = abs(share.share - end)
        error = math.sqrt(end * (1 - end) / total)
        assert distance == pytest.approx(1.959964 * error, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((3, 2), "hits: 3 of 2"), ((-1, 2), "hits: -1 of 2"), ((1, 2, 1.0), "confidence: 1.0")],
)
def test_numbers_out_of_range(numbers, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*numbers)
