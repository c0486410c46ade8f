"""The table of a matrix, worked by hand from given results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from captioning.bench.matrix_file import Cell, Matrix
from captioning.bench.summary import (
    difference_over_seeds,
    format_tables,
    student_quantile,
    summarise,
)


def result(ciders, speed=1.0, seconds=10, **settings):
    """A result of four pictures with these scores."""
    rows = [{"image_id": i, "caption": "a dog", "CIDEr": v} for i, v in enumerate(ciders)]
    overall = {"CIDEr": sum(ciders) / len(ciders), "speed": speed}
    test = {"asked": {}, "seconds": 2, "overall": overall, "per_image": rows}
    test["settings"] = {"split": "test", "references_hash": "ab"} | settings
    facts = {"minutes": 0.1, "best_epoch": 3, "val_CIDEr": 0.5, "parameters": 1234}
    return facts | {"seconds": seconds, "tests": {"beam 1": test}}


@pytest.fixture
def matrix():
    cells = {n: Cell(n, "r.yaml") for n in ("plain", "grid", "late")}
    cells["late"] = Cell("late", "r.yaml", "plain", {"training.num_epochs": 2})
    searches = {"beam 1": {"method": "greedy"}}
    more = {"title": "T", "data": "d", "seeds": (0, 1, 2), "scores": ("CIDEr", "speed")}
    return Matrix(Path("m.yaml"), cells, searches=searches, **more)


@pytest.fixture
def records():
    """CIDEr of seeds 0, 1, 2: 1, 2, 3 for plain and 1.5, 2, 4 for grid."""
    return {
        ("plain", 0): result([0.5, 1.5, 1.0, 1.0], 3.0),
        ("plain", 1): result([2.0, 2.0, 2.0, 2.0], 3.0, seconds=89),
        ("plain", 2): result([3.0, 3.0, 3.0, 3.0], 3.0),
        ("grid", 0): result([1.5, 1.5, 1.5, 1.5], 3.0),
        ("grid", 1): result([2.0, 2.0, 2.0, 2.0], 3.0),
        ("grid", 2): result([4.0, 4.0, 4.0, 4.0], 3.0),
        ("late", 1): result([2.5, 2.5, 2.5, 2.5], 5.0),
    }


def test_the_quantile_has_closed_forms():
    assert student_quantile(1) == pytest.approx(math.tan(0.95 * math.pi / 2), rel=1e-6)
    assert student_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), rel=1e-6)
    assert student_quantile(2, 0.5) == pytest.approx(0.5 * math.sqrt(2 / 0.75), rel=1e-6)
    assert student_quantile(9) == pytest.approx(2.262, abs=5e-4)  # of the printed tables


def test_means_and_differences_by_hand(matrix, records):
    summary = summarise(matrix, records, (0, 1, 2))
    plain, grid, late = (summary["cells"][n] for n in ("plain", "grid", "late"))
    assert plain["tests"]["beam 1"]["CIDEr"] == {"mean": 2, "std": 1, "seeds": [1, 2, 3]}
    assert plain["seconds"] == [12, 91, 12] and plain["parameters"] == 1234
    score = grid["tests"]["beam 1"]["CIDEr"]
    assert score["mean"] == 2.5 and score["std"] == pytest.approx(math.sqrt(1.75))
    difference = score["difference"]  # 0.5, 0, 1: mean 0.5, standard deviation 0.5
    assert difference["seeds"] == [0.5, 0, 1] and difference["mean"] == 0.5
    half = 4.302653 * 0.5 / math.sqrt(3)
    ends = (difference["low"], difference["high"])
    assert ends == pytest.approx((0.5 - half, 0.5 + half))
    # over pictures: the means over seeds differ by 2/3, 1/3, 1/2, 1/2
    assert score["pictures"]["mean"] == pytest.approx(0.5)
    assert 1 / 3 < score["pictures"]["low"] < 0.5 < score["pictures"]["high"] < 2 / 3
    assert "pictures" not in grid["tests"]["beam 1"]["speed"]  # nothing is known of each picture
    assert grid["tests"]["beam 1"]["speed"]["difference"]["high"] == 0

    assert late["seeds"] == [1] and late["changes"]["from"] == "plain"
    score = late["tests"]["beam 1"]["CIDEr"]
    assert score["std"] is None and score["difference"]["low"] is None
    assert score["difference"]["mean"] == 0.5 and summary["baseline"] == "plain"
    assert summary["missing"] == ["late, seed 0", "late, seed 2"]
    json.dumps(summary, allow_nan=False)


def test_the_tables_as_they_are_printed(matrix, records):
    lines = format_tables(summarise(matrix, records, (0, 1, 2))).splitlines()
    assert lines[:5] == [
        "| cell | CIDEr | speed | parameters | seconds, at most |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| plain | 2.000 ± 1.000 | 3.000 ± 0.000 | 1,234 | 91 |",
        "| grid | 2.500 ± 1.323 | 3.000 ± 0.000 | 1,234 | 12 |",
        "| late (seeds: 1) | 2.500 | 5.000 | 1,234 | 12 |",
    ]
    assert (
        lines[6] == "| minus plain | CIDEr, over seeds | CIDEr, over pictures | speed, over seeds |"
    )
    assert lines[8].startswith("| grid | +0.500 (-0.742 to +1.742) | +0.500 (+0.")
    assert lines[8].endswith(" | +0.000 (+0.000 to +0.000) |")
    assert lines[9] == "| late | +0.500 | +0.500 (+0.500 to +0.500) | +2.000 |"
    assert "Not measured: late, seed 0; late, seed 2." in lines


def test_a_matrix_without_its_first_cell_or_without_any(matrix, records):
    some = {key: one for key, one in records.items() if key[0] != "plain"}
    tables = format_tables(summarise(matrix, some, (0, 1, 2)))
    assert "| grid | 2.500" in tables and "minus" not in tables
    assert format_tables(summarise(matrix, {}, (0,))) == "Nothing is measured yet."


def test_results_of_other_data_are_not_compared(matrix, records):
    records["grid", 1] = result([1, 2], references_hash="cd", data="old")
    with pytest.raises(ValueError, match="grid and plain: data: .*captions cd.*captions ab"):
        summarise(matrix, records, (0, 1, 2))


def test_equal_differences_have_no_width():
    assert difference_over_seeds([0.25, 0.25]) == {
        "mean": 0.25,
        "low": 0.25,
        "high": 0.25,
        "seeds": [0.25, 0.25],
    }
