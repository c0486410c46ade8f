"""Is one result better than another? Both captioned the same pictures, so scores come in pairs.

For every score that both results have for each picture: the two means, their difference, a paired
t-test, and an interval of the difference from drawing the pictures anew. Means are those of single
pictures, so for BLEU they differ from the overall value, which is computed from summed counts.

Source: Student (W. S. Gosset), "The Probable Error of a Mean", Biometrika 6, 1908 (paired t-test);
NIST Digital Library of Mathematical Functions, 8.17.1 to 8.17.22 (incomplete beta function); P.
Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004 (interval).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.significance import paired_bootstrap
from captioning.files import read_json

NUM_DRAWS = 2000
OWN_OPINION = ("logprob", "caption_perplexity")  # what a model thinks of its captions: no scores
SAME = ("split", "num_images", "references_hash", "num_references", "tokenizer")
SAME += (
    "bleu",
    "rouge_l",
    "cider",
    "cider_train_df",
    "clip",
    "grammar",
    "finecapeval",
)  # the signatures of the metrics
NAMES = {"references_hash": "data", "num_images": "pictures"}
_TERMS = 1000  # of a continued fraction; some hundred are enough for a million pictures
_TINY = 1e-300


def read_result(path: str | Path) -> dict[str, Any]:
    """A result of `evaluate` or `score`.

    Args:
        path (str | Path): JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    record = read_json(path, "result of an evaluation")
    whole = isinstance(record, dict) and isinstance(record.get("settings"), dict)
    rows = record.get("per_image") if whole else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "image_id" in r for r in rows):
        raise ValueError(
            f"{path}: not a result of an evaluation ('overall', 'per_image' with image_id, "
            "'settings' expected)"
        )
    return record


def references_hash(references: Mapping[ImageId, Sequence[str]]) -> str:
    """16 hex digits that tell one set of pictures with human captions from another.

    Args:
        references (Mapping): image id to its captions; empty lists where there are none.
    """
    digest = hashlib.sha256()
    for image_id in sorted(references, key=str):
        digest.update(json.dumps([image_id, list(references[image_id])]).encode())
    return digest.hexdigest()[:16]


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two results picture by picture.

    Args:
        a, b (Mapping): results of `evaluate` or `score` on the same pictures.

    Returns:
        dict: `pictures` (int) and `metrics`: for every common score `a` and `b` (means over the
        pictures), `difference` (a - b), `t` and two-sided `p` of a paired t-test (pictures - 1
        degrees of freedom), `low` and `high` (ends of the 95 % bootstrap interval of the
        difference).

    Raises:
        ValueError: the results are of different data, splits or pictures, or their scores were not
            computed in the same way, or there are fewer than two pictures or no common score.
    """
    check_comparable(a, b)
    scores_a, scores_b = scores_of(a), scores_of(b)
    common = [key for key in scores_a if key in scores_b]
    pictures = [row["image_id"] for row in a["per_image"]]
    if len(pictures) < 2:
        raise ValueError(f"pictures: {len(pictures)} received, 2 or more expected for a comparison")
    if not common:
        raise ValueError(
            f"metrics: {list(scores_a)} and {list(scores_b)} received, a common one expected"
        )
    metrics = {}
    for key in common:
        first, second = scores_a[key], scores_b[key]
        t, p = paired_t_test([first[i] - second[i] for i in pictures])
        drawn = paired_bootstrap(first, second, NUM_DRAWS)
        means = (sum(scores.values()) / len(pictures) for scores in (first, second))
        numbers = (*means, drawn.mean, t, p, drawn.low, drawn.high)
        names = ("a", "b", "difference", "t", "p", "low", "high")
        metrics[key] = dict(zip(names, numbers, strict=True))
    return {"pictures": len(pictures), "metrics": metrics}


def check_comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse results that have nothing to do with each other.

    Raises:
        ValueError: the first difference, with both values.
    """
    check_settings(a["settings"], b["settings"])
    ids = [{row["image_id"] for row in result["per_image"]} for result in (a, b)]
    if odd := sorted(ids[0] ^ ids[1], key=str):
        raise ValueError(
            f"pictures: {len(ids[0])} and {len(ids[1])} received, the same in both expected (image "
            f"{odd[0]!r} is in one of them only)"
        )


def check_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse settings of results that cannot be compared.

    What only one of them states is not held against them, so that results of `score`, which know no
    split, can be compared with those of `evaluate`.

    Raises:
        ValueError: the first difference, with both values.
    """
    for key in SAME:
        if key in one and key in other and one[key] != other[key]:
            values = [one[key], other[key]]
            if key == "references_hash":
                values = [f"{some.get('data')} (captions {some[key]})" for some in (one, other)]
            raise ValueError(
                f"{NAMES.get(key, key)}: {values[0]!r} and {values[1]!r} received, the same in "
                "both expected for a comparison"
            )


def scores_of(result: Mapping[str, Any]) -> dict[str, dict[ImageId, float]]:
    """Every number that a result gives for each of its pictures: name to image id to number."""
    rows = result["per_image"]
    names = [key for key in (rows[0] if rows else {}) if key not in ("image_id", *OWN_OPINION)]
    return {
        key: {row["image_id"]: row[key] for row in rows}
        for key in names
        if all(_is_number(row.get(key)) for row in rows)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """A small text table of a comparison.

    Args:
        comparison (Mapping): what `compare` returned.

    Returns:
        str: a line for every score with four decimals, then one saying what was compared.
    """
    metrics = comparison["metrics"]
    width = max(map(len, metrics))
    lines = [f"{'':<{width}}{'a':>10}{'b':>10}{'a - b':>10}   95 % interval           p"]
    for name, one in metrics.items():
        values = "".join(f"{one[key]:10.4f}" for key in ("a", "b", "difference"))
        lines.append(
            f"{name:<{width}}{values}  {one['low']:8.4f} {one['high']:8.4f}  {one['p']:8.2g}"
        )
    lines.append(f"a: this result, b: the earlier one, means of {comparison['pictures']} pictures")
    return "\n".join(lines)


def paired_t_test(differences: Sequence[float]) -> tuple[float, float]:
    """Student's test of whether paired differences have the mean 0.

    Args:
        differences (Sequence[float]): n of them, n >= 2.

    Returns:
        tuple[float, float]: t with n - 1 degrees of freedom, and its two-sided p. Differences that
        are all 0 give t = 0 and p = 1.
    """
    number = len(differences)
    mean = math.fsum(differences) / number
    if mean == 0:
        return 0.0, 1.0
    variance = math.fsum((value - mean) ** 2 for value in differences) / (number - 1)
    t = mean / max(math.sqrt(variance / number), _TINY)  # equal ones: huge, but finite
    return t, student_p(t, number - 1)


def student_p(t: float, freedom: int) -> float:
    """Probability that |T| exceeds |t| for Student's T.

    Args:
        t (float): the statistic.
        freedom (int): degrees of freedom, >= 1.
    """
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), from its continued fraction.

    Args:
        a, b (float): > 0.
        x (float): 0..1.

    Source: DLMF 8.17.4 (the complement, where the fraction is slow) and 8.17.22.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    fraction = 1.0
    for n in range(_TERMS, 0, -1):
        m = n // 2
        if n % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1 + d / fraction
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / (a * fraction)
