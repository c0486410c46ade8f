"""CIDEr: how close the tf-idf weighted n-grams of a caption are to those of its references.

Two variants. What coco-caption and everybody's tables call CIDEr is CIDEr-D: weights clipped to the
reference's, times a Gaussian of the difference in length. `plain=True` is the original without
both. Both carry a factor of 10.

Source: R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr: Consensus-based Image Description
Evaluation", CVPR 2015, section 4, and its section on gameability for CIDEr-D.
Departures: length is the number of bigrams (words minus one), and the term frequency is a raw
count, as in the authors' code; neither changes a cosine between captions of one length.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from captioning.evaluation.ngrams import (
    MAX_ORDER,
    DocumentFrequency,
    NgramCounts,
    Token,
    count_ngrams,
)

SIGMA = 6.0  # spread of the length penalty, in words
SCALE = 10.0


class _Vector(NamedTuple):
    """A caption as CIDEr sees it: tf-idf weights and their norm for each order, and its length."""

    weights: list[dict[tuple, float]]
    norms: list[float]
    length: int


class CiderScorer:
    """CIDEr against a fixed set of references, whose vectors are computed once.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        document_frequency (DocumentFrequency | None): None takes the frequencies of these
            references, as evaluation does; a reward brings those of its training set. Its end
            token, if any, is put behind every caption.
        plain (bool): the original metric, without clipping and length penalty.

    Raises:
        ValueError: there are no images, or an image has no reference.
    """

    def __init__(
        self,
        references: Mapping[Hashable, Sequence[Sequence[Token]]],
        document_frequency: DocumentFrequency | None = None,
        plain: bool = False,
    ) -> None:
        end_token = document_frequency.end_token if document_frequency else None
        self._end = [] if end_token is None else [end_token]
        self.plain = plain
        counts = {}
        for image_id, captions in references.items():
            if not captions:
                raise ValueError(f"references: image {image_id!r} has none, at least one expected")
            counts[image_id] = [count_ngrams([*caption, *self._end]) for caption in captions]
        self.document_frequency = document_frequency or DocumentFrequency.from_ngrams(
            counts.values()
        )
        self._references = {
            image_id: [self._vector(ngrams) for ngrams in captions]
            for image_id, captions in counts.items()
        }

    def score(self, image_id: Hashable, candidate: Sequence[Token]) -> float:
        """CIDEr of one tokenised caption for one image, 0..10; 0 for a caption without words."""
        if not candidate:
            return 0.0
        vector = self._vector(count_ngrams([*candidate, *self._end]))
        references = self._references[image_id]
        total = sum(self._similarity(vector, reference) for reference in references)
        return SCALE * total / (MAX_ORDER * len(references))

    def _vector(self, counts: NgramCounts) -> _Vector:
        weights = [self.document_frequency.weigh(order) for order in counts]
        norms = [math.sqrt(sum([w * w for w in order.values()])) for order in weights]
        return _Vector(weights, norms, length=counts[1].total())

    def _similarity(self, caption: _Vector, reference: _Vector) -> float:
        """Sum over orders of the (clipped) cosine of two captions, times the length penalty."""
        total = 0.0
        for order in range(MAX_ORDER):
            norm = caption.norms[order] * reference.norms[order]
            if norm == 0:
                continue
            ours, theirs = caption.weights[order], reference.weights[order]
            shared = [ngram for ngram in ours if ngram in theirs]  # not a set: sums repeat exactly
            if not shared:
                continue
            if self.plain:
                total += sum([ours[ngram] * theirs[ngram] for ngram in shared]) / norm
            else:
                total += sum([min(ours[g], theirs[g]) * theirs[g] for g in shared]) / norm
        if self.plain:
            return total
        difference = caption.length - reference.length
        return total * math.exp(-(difference**2) / (2 * SIGMA**2))


def cider(
    references: Mapping[Hashable, Sequence[Sequence[Token]]],
    candidates: Mapping[Hashable, Sequence[Token]],
    document_frequency: DocumentFrequency | None = None,
    plain: bool = False,
) -> tuple[float, dict[Hashable, float]]:
    """CIDEr of one candidate per image.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        candidates (Mapping): image id to the tokenised caption to be scored; the same ids.
        document_frequency (DocumentFrequency | None): see `CiderScorer`.
        plain (bool): see `CiderScorer`.

    Returns:
        tuple: the mean over images, and the score of each image; 0..10, unscaled (0.7, not 70).
    """
    scorer = CiderScorer(references, document_frequency, plain)
    per_image = {
        image_id: scorer.score(image_id, candidate) for image_id, candidate in candidates.items()
    }
    return sum(per_image.values()) / len(per_image), per_image
