"""Captions without a captioner: borrowed from training pictures. What a model has to beat.

Three ways, from feature vectors and captions only: the sentence people wrote most often; a caption
of the most similar training picture; the caption that agrees best with all others of the k most
similar pictures (the consensus caption), which is a strong opponent where pictures repeat.

Source: J. Devlin, S. Gupta, R. Girshick, M. Mitchell, C. L. Zitnick, "Exploring Nearest Neighbor
Approaches for Image Captioning", arXiv:1505.04467, 2015.
Departures: the agreement of a caption is its mean CIDEr to all other candidates, where the authors
also try the mean over the m best of them; pictures are compared by the cosine of whatever vectors
are given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from captioning.evaluation.ngrams import MAX_ORDER, DocumentFrequency, count_ngrams
from vocabulary import tokenize


def most_frequent_caption(captions: Sequence[Sequence[str]]) -> str:
    """The sentence that occurs most often, compared by its words.

    Args:
        captions (Sequence[Sequence[str]]): the captions of each training picture, as written.

    Returns:
        str: the sentence as it was written first; of equally frequent ones the earliest.

    Raises:
        ValueError: there is no caption with a word.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    written: dict[tuple[str, ...], str] = {}
    for text in (text for some in captions for text in some):
        words = tuple(tokenize(text))
        if words:
            counts[words] += 1
            written.setdefault(words, text)
    if not counts:
        raise ValueError("captions: no words received, at least one caption with a word expected")
    return written[counts.most_common(1)[0][0]]


def nearest_pictures(queries: Tensor, pool: Tensor, k: int) -> Tensor:
    """The k most similar vectors of a pool for every query, by cosine.

    Args:
        queries (Tensor): (B, F), e.g. the mean features of test pictures.
        pool (Tensor): (M, F), of training pictures.
        k (int): how many, 1..M.

    Returns:
        Tensor: (B, k) positions in the pool, most similar first.

    Raises:
        ValueError: k is out of range, or the vectors differ in size.
    """
    if queries.shape[1] != pool.shape[1]:
        raise ValueError(
            f"queries: vectors of size {queries.shape[1]} received, {pool.shape[1]} expected"
        )
    if not 1 <= k <= len(pool):
        raise ValueError(f"k: {k} received, 1 to {len(pool)} expected")
    similarity = F.normalize(queries.float(), dim=1) @ F.normalize(pool.float(), dim=1).T  # (B, M)
    return similarity.argsort(dim=1, descending=True, stable=True)[:, :k]


def caption_similarity(captions: Sequence[Sequence[str]]) -> Tensor:
    """How alike any two training captions are: CIDEr of one against the other.

    This is the metric without clipping and length penalty (`CIDEr_plain`), the mean over 1- to
    4-grams of the cosine of tf-idf vectors; document frequencies are those of these pictures. The
    table grows with the square of the captions: meant for some thousands of them.

    Args:
        captions (Sequence[Sequence[str]]): the captions of each training picture, as written.

    Returns:
        Tensor: (C, C) in 0..1 for the C captions in order, picture after picture.
    """
    counts = [[count_ngrams(tokenize(text)) for text in some] for some in captions]
    frequency = DocumentFrequency.from_ngrams(counts)
    flat = [ngrams for some in counts for ngrams in some]
    total = torch.zeros(len(flat), len(flat))
    for order in range(MAX_ORDER):
        total += _cosines([frequency.weigh(ngrams[order]) for ngrams in flat])
    return total / MAX_ORDER


def _cosines(vectors: list[dict[tuple, float]]) -> Tensor:
    """(C, C) cosines of C sparse vectors; 0 where one of them is zero."""
    captions_with = Counter(ngram for vector in vectors for ngram in vector)
    shared = (ngram for ngram, count in captions_with.items() if count > 1)
    columns = {ngram: column for column, ngram in enumerate(shared)}
    table = torch.zeros(len(vectors), max(1, len(columns)))
    norms = torch.zeros(len(vectors))
    for row, vector in enumerate(vectors):
        for ngram, weight in vector.items():
            if ngram in columns:
                table[row, columns[ngram]] = weight
        norms[row] = math.sqrt(sum(weight * weight for weight in vector.values()))
    table /= norms.clamp(min=1e-12).unsqueeze(1)
    result = table @ table.T
    result.diagonal().copy_(norms > 0)  # n-grams of one caption alone have no column
    return result


class CaptionPool:
    """The captions of the training pictures, ready to be borrowed.

    Args:
        captions (Sequence[Sequence[str]]): the captions of each training picture, as written; at
            least one each.

    Raises:
        ValueError: a picture has no caption.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        for picture, some in enumerate(captions):
            if not some:
                raise ValueError(f"captions: picture {picture} has none, at least one expected")
        self.texts = [text for some in captions for text in some]
        self.similarity = caption_similarity(captions)
        self._rows: list[list[int]] = []
        for some in captions:
            start = self._rows[-1][-1] + 1 if self._rows else 0
            self._rows.append(list(range(start, start + len(some))))

    def consensus(self, pictures: Sequence[int]) -> str:
        """Of all captions of some pictures the one with the highest mean CIDEr to the others.

        Of equal ones the caption of the picture named first wins. For a single picture this is
        the caption that its own describers agree on best.

        Args:
            pictures (Sequence[int]): training pictures by position, most similar first.
        """
        rows = torch.tensor([row for picture in pictures for row in self._rows[picture]])
        among = self.similarity[rows][:, rows]
        others = among.sum(1) - among.diagonal()
        return self.texts[int(rows[int(others.argmax())])]


def consensus_captions(neighbours: Tensor, pool: CaptionPool, k: int) -> list[str]:
    """A borrowed caption for every query.

    Args:
        neighbours (Tensor): (B, K) positions of training pictures, see `nearest_pictures`.
        pool (CaptionPool): their captions.
        k (int): the first so many neighbours vote, 1..K; 1 is the nearest picture's caption.

    Raises:
        ValueError: k is out of range.
    """
    if not 1 <= k <= neighbours.shape[1]:
        raise ValueError(f"k: {k} received, 1 to {neighbours.shape[1]} expected")
    return [pool.consensus(row) for row in neighbours[:, :k].tolist()]
