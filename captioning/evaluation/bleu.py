"""BLEU-1 to BLEU-4, over a whole set and for each image, with the numbers of coco-caption.

The precision of each order is clipped by the largest count in any one reference; the brevity
penalty compares with the reference closest in length (the shorter one when two are equally close).

Source: K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
2002, section 2.
Departures: two small constants in place of smoothing, as in coco-caption, so that a missing order
gives a score near zero rather than a division by zero; without them no published BLEU of a single
caption could be reproduced.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from captioning.evaluation.ngrams import MAX_ORDER, Token, count_ngrams

TINY = 1e-15  # added to numerators: no matches give (almost) zero
SMALL = 1e-9  # added to denominators: a caption too short for an order divides by this


class _Statistics:
    """What BLEU needs to know of one caption, or summed over many."""

    def __init__(self) -> None:
        self.matches = [0] * MAX_ORDER
        self.guesses = [0] * MAX_ORDER
        self.length = 0
        self.reference_length = 0

    def add(self, other: _Statistics) -> None:
        self.matches = [a + b for a, b in zip(self.matches, other.matches, strict=True)]
        self.guesses = [a + b for a, b in zip(self.guesses, other.guesses, strict=True)]
        self.length += other.length
        self.reference_length += other.reference_length

    def scores(self) -> list[float]:
        """BLEU-1 to BLEU-4: geometric mean of the precisions so far, times the brevity penalty."""
        ratio = (self.length + TINY) / (self.reference_length + SMALL)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        product, scores = 1.0, []
        for order, (matches, guesses) in enumerate(zip(self.matches, self.guesses, strict=True), 1):
            product *= (matches + TINY) / (guesses + SMALL)
            scores.append(product ** (1 / order) * penalty)
        return scores


def _compare(candidate: Sequence[Token], references: Sequence[Sequence[Token]]) -> _Statistics:
    statistics = _Statistics()
    statistics.length = len(candidate)
    statistics.reference_length = min(
        (abs(len(reference) - len(candidate)), len(reference)) for reference in references
    )[1]
    limits = [Counter() for _ in range(MAX_ORDER)]
    for reference in references:
        for limit, counts in zip(limits, count_ngrams(reference), strict=True):
            limit |= counts  # the larger of the two counts
    for index, (counts, limit) in enumerate(zip(count_ngrams(candidate), limits, strict=True)):
        statistics.guesses[index] = counts.total()
        statistics.matches[index] = sum(min(n, limit[ngram]) for ngram, n in counts.items())
    return statistics


def bleu(
    references: Mapping[Hashable, Sequence[Sequence[Token]]],
    candidates: Mapping[Hashable, Sequence[Token]],
) -> tuple[list[float], dict[Hashable, list[float]]]:
    """BLEU-1 to BLEU-4 of one candidate per image.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        candidates (Mapping): image id to the tokenised caption to be scored; the same ids.

    Returns:
        tuple: the four scores of the whole set (from summed counts, not the mean of the images),
            and the four scores of each image; all in 0..1.
    """
    total = _Statistics()
    per_image = {}
    for image_id, candidate in candidates.items():
        statistics = _compare(candidate, references[image_id])
        total.add(statistics)
        per_image[image_id] = statistics.scores()
    return total.scores(), per_image
