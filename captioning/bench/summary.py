"""The table of a matrix: means over seeds, and differences to the first cell with intervals.

Cells are compared seed by seed, because those with the same seed see the same batches. Two 95 %
intervals of a difference answer two questions: over seeds (Student's t: would other seeds say so
too?) and over pictures (bootstrap, scores averaged over seeds: would other pictures?).

Source: Student (W. S. Gosset), "The Probable Error of a Mean", Biometrika 6, 1908.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from captioning.bench.matrix import Records
from captioning.bench.matrix_file import Matrix
from captioning.bench.measure import seconds_of
from captioning.evaluation.compare import check_settings, scores_of, student_p
from captioning.evaluation.report.words import meaning
from captioning.evaluation.significance import Difference, mean_scores, paired_bootstrap

CONFIDENCE = 0.95
NOTE = (
    "Differences are paired by seed, with 95 % intervals: over seeds by Student's t, over pictures "
    "by bootstrap of their own scores (the mean of these is another number than the score of all "
    "where that is computed from sums, as BLEU and facts are)."
)


def summarise(matrix: Matrix, records: Records, seeds: Sequence[int]) -> dict[str, Any]:
    """What the results of a matrix say together.

    Args:
        matrix (Matrix): the file.
        records (dict): results by cell and seed; some may be missing.
        seeds (Sequence[int]): which of them count.

    Returns:
        dict: `title`, `data`, `split`, `seeds`, `scores`, `searches`, `baseline` (the first cell),
        `missing` (`CELL, seed N`), and `cells`: for each that was measured its `changes`, `seeds`,
        lists of `minutes`, `seconds`, `best_epoch`, `val_CIDEr`, the number of `parameters`, and
        `tests`: search to score to `mean`, `std` (None for one seed), `seeds` (the values), and,
        but for the baseline, `difference` (see `difference_over_seeds`) and `pictures` (see
        `difference_over_pictures`) where they can be had.

    Raises:
        ValueError: results that are to be compared are of different data.
    """
    baseline = next(iter(matrix.cells))
    theirs = _of_cell(records, baseline, seeds)
    cells = {}
    for name in matrix.cells:
        if ours := _of_cell(records, name, seeds):
            cells[name] = _about(matrix, name, ours)
            pairs = {seed: (ours[seed], theirs[seed]) for seed in ours if seed in theirs}
            if name != baseline and pairs:
                try:
                    _add_differences(cells[name]["tests"], pairs)
                except ValueError as error:
                    raise ValueError(f"{name} and {baseline}: {error}") from error
    missing = [f"{n}, seed {s}" for s in seeds for n in matrix.cells if (n, s) not in records]
    return {
        "title": matrix.title,
        "data": matrix.data,
        "split": matrix.split,
        "seeds": list(seeds),
        "scores": list(matrix.scores),
        "searches": matrix.searches,
        "limit_seconds": matrix.limit_seconds,
        "baseline": baseline,
        "missing": missing,
        "cells": cells,
    }


def _of_cell(records: Records, name: str, seeds: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The results of a cell by seed."""
    return {seed: records[name, seed] for seed in seeds if (name, seed) in records}


def _about(matrix: Matrix, name: str, records: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A cell by itself."""
    cell = matrix.cells[name]
    lists = ("minutes", "best_epoch", "val_CIDEr")
    tests = {
        search: {
            score: spread([one["tests"][search]["overall"][score] for one in records.values()])
            for score in matrix.scores
        }
        for search in matrix.searches
    }
    return {
        "changes": {k: v for k, v in (("from", cell.start), ("captions", cell.captions)) if v}
        | cell.settings,
        "seeds": [*records],
        "parameters": next(iter(records.values()))["parameters"],
        "seconds": [seconds_of(one) for one in records.values()],
        **{key: [one[key] for one in records.values()] for key in lists},
        "tests": tests,
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation (None for one value) over seeds, and the values."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": std, "seeds": values}


def _add_differences(tests: dict[str, Any], pairs: dict[int, tuple[dict, dict]]) -> None:
    """Compare a cell with the baseline: `pairs` has the results of both, by seed."""
    for search, scores in tests.items():
        ours, theirs = ([pair[k]["tests"][search] for pair in pairs.values()] for k in (0, 1))
        for one in (*ours, *theirs):
            check_settings(one["settings"], ours[0]["settings"])
        for score, entry in scores.items():
            values = zip(ours, theirs, strict=True)
            differences = [a["overall"][score] - b["overall"][score] for a, b in values]
            entry["difference"] = difference_over_seeds(differences)
            if (drawn := difference_over_pictures(ours, theirs, score)) is not None:
                entry["pictures"] = drawn._asdict()


def difference_over_seeds(differences: list[float]) -> dict[str, Any]:
    """The mean of paired differences, with its interval by Student's t.

    Args:
        differences (list[float]): n of them, one for each seed.

    Returns:
        dict: `mean`, `low` and `high` (None for one seed), `seeds` (the differences).
    """
    mean, number = statistics.fmean(differences), len(differences)
    ends: dict[str, float | None] = {"low": None, "high": None}
    if number > 1:
        half = student_quantile(number - 1) * statistics.stdev(differences) / math.sqrt(number)
        ends = {"low": mean - half, "high": mean + half}
    return {"mean": mean, **ends, "seeds": differences}


@functools.cache
def student_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """The t that |T| exceeds with probability 1 - confidence.

    Args:
        freedom (int): degrees of freedom, >= 1.
        confidence (float): between 0 and 1.
    """
    low, high = 0.0, 1.0
    while student_p(high, freedom) > 1 - confidence:
        low, high = high, 2 * high
    for _ in range(50):  # halves the gap each time
        middle = (low + high) / 2
        if student_p(middle, freedom) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def difference_over_pictures(
    ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], score: str
) -> Difference | None:
    """The same over pictures, where the score is known of each; None where it is not.

    Args:
        ours, theirs (Sequence[dict]): results of `evaluate`, one for each seed.
        score (str): name.
    """
    known = [[scores_of(one).get(score) for one in some] for some in (ours, theirs)]
    if any(one is None for some in known for one in some):
        return None
    return paired_bootstrap(mean_scores(known[0]), mean_scores(known[1]), confidence=CONFIDENCE)


# ----------------------------------------------------------------------------------------- tables


def format_tables(summary: dict[str, Any]) -> str:
    """Markdown: for each search a row for each cell, then the differences to the first cell.

    Args:
        summary (dict): what `summarise` gave.
    """
    if not summary["cells"]:
        return "Nothing is measured yet."
    parts = []
    for search in summary["searches"]:
        heading = [f"**{search}**"] if len(summary["searches"]) > 1 else []
        differences = _difference_table(summary, search)
        parts += [*heading, _score_table(summary, search), *differences]
    if differences:
        parts.append(NOTE)
    if summary["missing"]:
        parts.append(f"Not measured: {'; '.join(summary['missing'])}.")
    return "\n\n".join(parts)


def _score_table(summary: dict[str, Any], search: str) -> str:
    """Mean and standard deviation of every score."""
    rows = []
    for name, cell in summary["cells"].items():
        few = len(cell["seeds"]) < len(summary["seeds"])
        title = f"{name} (seeds: {', '.join(map(str, cell['seeds']))})" if few else name
        values = [cell["tests"][search][score] for score in summary["scores"]]
        shown = [
            f"{one['mean']:.3f}" + ("" if one["std"] is None else f" ± {one['std']:.3f}")
            for one in values
        ]
        rows.append([title, *shown, f"{cell['parameters']:,}", f"{max(cell['seconds']):.0f}"])
    labels = [meaning(score).label for score in summary["scores"]]
    return markdown_table(["cell", *labels, "parameters", "seconds, at most"], rows)


def _difference_table(summary: dict[str, Any], search: str) -> list[str]:
    """Differences to the baseline; nothing without a second cell."""
    cells = {n: cell["tests"][search] for n, cell in summary["cells"].items()}
    cells = {n: t for n, t in cells.items() if "difference" in t[summary["scores"][0]]}
    if not cells:
        return []
    kinds = {"difference": "seeds", "pictures": "pictures"}
    columns = [
        (score, kind)
        for score in summary["scores"]
        for kind in kinds
        if any(kind in tests[score] for tests in cells.values())
    ]
    rows = [
        [name, *(_interval(tests[score].get(kind)) for score, kind in columns)]
        for name, tests in cells.items()
    ]
    title = f"minus {summary['baseline']}"
    heads = [f"{meaning(score).label}, over {kinds[kind]}" for score, kind in columns]
    return [markdown_table([title, *heads], rows)]


def _interval(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    ends = "" if one["low"] is None else f" ({_signed(one['low'])} to {_signed(one['high'])})"
    return _signed(one["mean"]) + ends


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no -0.000


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text; the others stand to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
