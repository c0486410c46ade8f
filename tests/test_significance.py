"""The paired bootstrap, on differences whose distribution is known."""

from __future__ import annotations

import math

import pytest

from captioning.evaluation.significance import mean_scores, paired_bootstrap


def test_equal_differences_leave_nothing_to_chance():
    first = {i: i + 0.5 for i in range(10)}
    result = paired_bootstrap(first, {i: float(i) for i in range(10)}, num_draws=50)
    assert result == pytest.approx((0.5, 0.5, 0.5))


def test_it_pairs_by_image_id_not_by_position():
    result = paired_bootstrap({"a": 1.0, "b": 5.0}, {"b": 4.0, "a": 0.0}, num_draws=50)
    assert result == pytest.approx((1, 1, 1))


def test_two_pictures_by_hand():
    # draws of two out of the differences 0 and 1: mean 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    scores = {"a": 0.0, "b": 1.0}, {"a": 0.0, "b": 0.0}
    assert paired_bootstrap(*scores, confidence=0.9) == (0.5, 0.0, 1.0)
    assert paired_bootstrap(*scores, confidence=0.3) == (0.5, 0.5, 0.5)  # 0.35 to 0.65


def test_interval_of_many_pictures_is_the_normal_one():
    first = {i: float(i % 2) for i in range(400)}  # mean 1/2, standard deviation 1/2
    result = paired_bootstrap(first, dict.fromkeys(first, 0.0))
    half_width = 1.96 * 0.5 / math.sqrt(400)
    assert result.mean == 0.5
    assert result.low == pytest.approx(0.5 - half_width, abs=0.005)
    assert result.high == pytest.approx(0.5 + half_width, abs=0.005)


def test_seed_decides():
    first = {i: (i * 37 % 11) / 7 for i in range(30)}
    second = {i: (i * 17 % 13) / 9 for i in range(30)}
    assert paired_bootstrap(first, second, 1500) == paired_bootstrap(first, second, 1500)
    assert paired_bootstrap(first, second, 1500) != paired_bootstrap(first, second, 1500, seed=1)
    ours, theirs = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert (ours.mean, ours.low) == pytest.approx((-theirs.mean, -theirs.high))


@pytest.mark.parametrize(
    ("first", "second", "settings", "message"),
    [
        ({}, {}, {}, "no scores received"),
        ({1: 0.0}, {1: 0.0, 2: 1.0}, {}, "image 2 has one score"),
        ({1: 0.0}, {1: 0.0}, {"num_draws": 0}, "num_draws: 0 received"),
        ({1: 0.0}, {1: 0.0}, {"confidence": 1.0}, "confidence: 1.0 received"),
    ],
)
def test_refused(first, second, settings, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(first, second, **settings)


def test_mean_over_runs():
    assert mean_scores([{1: 0.0, 2: 1.0}, {2: 3.0, 1: 1.0}]) == {1: 0.5, 2: 2.0}
    with pytest.raises(ValueError, match="different pictures"):
        mean_scores([{1: 0.0}, {2: 0.0}])
    with pytest.raises(ValueError, match="none received"):
        mean_scores([])
