"""Is one system really better than another, or were the test pictures kind to it?

Pictures are drawn anew, with replacement, from those that both systems captioned; how much the mean
difference varies over many such draws tells how much it would vary over other test sets.

Source: P. Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004
(paired bootstrap resampling).
Departures: the statistic is the mean of a score per picture, and the result is a percentile
interval of the difference rather than a count of wins.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np

CHUNK = 1000  # draws held in memory at once


class Difference(NamedTuple):
    """`mean` of first minus second system, and the ends of its interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    num_draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Interval of the difference between the mean scores of two systems on the same pictures.

    Args:
        first (Mapping): image id to the score of the first system, e.g. its CIDEr.
        second (Mapping): the same ids, of the second system.
        num_draws (int): draws, >= 1.
        confidence (float): share of the draws inside the interval, between 0 and 1.
        seed (int): makes the draws repeatable.

    Returns:
        Difference: the observed mean of first - second, and the interval's ends.

    Raises:
        ValueError: the ids differ, there are none, or a number is out of range.
    """
    if set(first) != set(second):
        odd = next(iter(set(first) ^ set(second)))
        raise ValueError(f"first, second: image {odd!r} has one score, two expected")
    if not first:
        raise ValueError("first: no scores received, at least one picture expected")
    if num_draws < 1:
        raise ValueError(f"num_draws: {num_draws} received, 1 or more expected")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} received, a number between 0 and 1 expected")
    differences = np.array([first[image_id] - second[image_id] for image_id in first])
    random = np.random.default_rng(seed)
    means = []
    for start in range(0, num_draws, CHUNK):
        size = (min(CHUNK, num_draws - start), len(differences))
        means.append(differences[random.integers(len(differences), size=size)].mean(1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Difference(float(differences.mean()), float(low), float(high))


def mean_scores(runs: list[Mapping[Hashable, float]]) -> dict[Hashable, float]:
    """The mean score of each picture over several runs of one system (other seeds).

    Raises:
        ValueError: there are no runs, or they scored different pictures.
    """
    if not runs:
        raise ValueError("runs: none received, at least one expected")
    if any(set(run) != set(runs[0]) for run in runs):
        raise ValueError("runs: different pictures received, the same ones expected in each")
    return {image_id: sum(run[image_id] for run in runs) / len(runs) for image_id in runs[0]}
