"""Two results side by side: the t-test against closed forms, and what is not comparable."""

from __future__ import annotations

import json
import math

import pytest

from captioning.evaluation.compare import (
    check_settings,
    compare,
    format_comparison,
    incomplete_beta,
    paired_t_test,
    read_result,
    references_hash,
    student_p,
)

SETTINGS = {"split": "test", "data": "data/x", "references_hash": "ab", "tokenizer": "ptb"}


def result_of(scores, **settings):
    """A result with a CIDEr for each picture."""
    rows = [
        {"image_id": i, "caption": "a dog", "CIDEr": score, "logprob": -1.0, "hallucinated": []}
        for i, score in enumerate(scores)
    ]
    return {"overall": {}, "per_image": rows, "settings": SETTINGS | settings}


@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 2.5, 12.7, 100.0])
def test_p_has_closed_forms_for_few_pictures(t):
    assert student_p(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(t))
    assert student_p(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert student_p(-t, 2) == student_p(t, 2)


def test_p_of_the_printed_tables():
    """Two-sided 5 % points of Student's distribution, and the normal one for many pictures."""
    for freedom, t in ((10, 2.228), (30, 2.042), (120, 1.980)):
        assert student_p(t, freedom) == pytest.approx(0.05, abs=2e-4)
    assert student_p(1.959964, 40_000_000) == pytest.approx(0.05, abs=1e-6)
    assert student_p(2.0, 40_503) == pytest.approx(math.erfc(2 / math.sqrt(2)), rel=1e-3)


def test_incomplete_beta_has_its_symmetry():
    for a, b, x in ((2.0, 3.0, 0.25), (0.5, 0.5, 0.7), (2500, 0.5, 0.999)):
        assert incomplete_beta(a, b, x) == pytest.approx(1 - incomplete_beta(b, a, 1 - x))
    assert incomplete_beta(1, 1, 0.3) == pytest.approx(0.3)
    assert incomplete_beta(2, 1, 0.3) == pytest.approx(0.09)
    assert (incomplete_beta(2, 3, 0), incomplete_beta(2, 3, 1)) == (0, 1)


def test_t_by_hand():
    t, p = paired_t_test([1.0, 2.0, 3.0])  # mean 2, standard deviation 1, over the root of 3
    assert t == pytest.approx(2 * math.sqrt(3))
    assert p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert paired_t_test([0.0, 0.0]) == (0, 1)
    t, p = paired_t_test([0.5, 0.5])
    assert math.isfinite(t) and t > 1e9 and p == 0


def test_a_comparison_by_hand():
    comparison = compare(result_of([2.0, 3.0, 4.0]), result_of([1.0, 1.0, 1.0]))
    assert comparison["pictures"] == 3 and list(comparison["metrics"]) == ["CIDEr"]
    one = comparison["metrics"]["CIDEr"]
    assert list(one) == ["a", "b", "difference", "t", "p", "low", "high"]
    assert (one["a"], one["b"], one["difference"]) == (3, 1, 2)
    assert one["t"] == pytest.approx(2 * math.sqrt(3))
    assert 1 <= one["low"] < 2 < one["high"] <= 3
    json.dumps(comparison, allow_nan=False)
    table = format_comparison(comparison)
    assert "CIDEr    3.0000    1.0000    2.0000" in table and "3 pictures" in table


def test_the_order_of_pictures_does_not_matter():
    first, second = result_of([1.0, 2.0, 3.0]), result_of([1.0, 2.0, 3.0])
    second["per_image"].reverse()
    one = compare(first, second)["metrics"]["CIDEr"]
    assert (one["difference"], one["p"], one["low"], one["high"]) == (0, 1, 0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "val"}, "split: 'test' and 'val' received, the same in both expected"),
        ({"references_hash": "cd"}, r"data: 'data/x \(captions ab\)' and 'data/x \(captions cd\)'"),
        ({"tokenizer": "none"}, "tokenizer: 'ptb' and 'none' received"),
    ],
)
def test_unlike_results_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        compare(result_of([1, 2]), result_of([1, 2], **settings))


def test_unlike_metrics_pictures_and_too_few_are_refused():
    signature = {"n": 4, "sigma": 6.0}
    with pytest.raises(ValueError, match="cider: .*6.0.* and .*5.0.* received"):
        check_settings({"cider": signature}, {"cider": signature | {"sigma": 5.0}})
    with pytest.raises(ValueError, match=r"pictures: 2 and 3 received, .* \(image 2 is in one"):
        compare(result_of([1, 2]), result_of([1, 2, 3]))
    with pytest.raises(ValueError, match="pictures: 1 received, 2 or more expected"):
        compare(result_of([1]), result_of([1]))
    other = result_of([1, 2])
    for row in other["per_image"]:
        row["SPICE"] = row.pop("CIDEr")
    with pytest.raises(ValueError, match=r"metrics: \['CIDEr'\] and \['SPICE'\] received"):
        compare(result_of([1, 2]), other)


def test_what_only_one_result_states_is_not_held_against_it():
    check_settings({"split": "test", "tokenizer": "ptb"}, {"tokenizer": "ptb", "cider": {}})


def test_numbers_that_are_missing_somewhere_are_left_out():
    first = result_of([1.0, 2.0])
    first["per_image"][0]["CIDEr"] = None
    with pytest.raises(ValueError, match="a common one expected"):
        compare(first, result_of([1.0, 2.0]))


def test_the_hash_tells_captions_apart():
    people = {2: ["a dog"], 1: ["a cat", "the cat"]}
    assert references_hash(people) == references_hash(dict(sorted(people.items())))
    assert references_hash(people) != references_hash(people | {1: ["a cat"]})
    assert references_hash({1: []}) != references_hash({2: []})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a result of an evaluation"),
        ("[]", "'per_image' with image_id"),
        ('{"per_image": [{"image_id": 1}]}', "'settings' expected"),
        ('{"settings": {}, "per_image": [{"id": 1}]}', "'per_image' with image_id"),
    ],
)
def test_other_files_are_no_results(tmp_path, text, message):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_result(path)
