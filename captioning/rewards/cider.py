"""CIDEr-D as a reward: on word ids, for all captions of a batch at once, on their device.

The references are vectorised once (`PackedReferences`); a step finds the n-grams of its captions
among those of their picture, and asks the table of document frequencies only for the others, which
matter for a caption's norm alone. `captioning/evaluation/cider.py` is the readable twin.

Source: R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr: Consensus-based Image Description
Evaluation", CVPR 2015, section 4 and the section on gameability (CIDEr-D); S. J. Rennie et al.,
"Self-critical Sequence Training for Image Captioning", CVPR 2017 (as a reward).
Departures: those of the twin (length in bigrams, raw counts); `<end>` is a word of captions,
references and frequencies unless it is switched off, since captions lose their endings otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.evaluation.cider import SCALE, SIGMA
from captioning.evaluation.ngrams import MAX_ORDER
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.ngrams import (
    finished_tokens,
    has_words,
    number_type,
    order_of,
    samples_per_picture,
    sorted_ngrams,
)
from captioning.rewards.packing import CHUNK
from captioning.rewards.references import PackedReferences, Rows
from vocabulary import PAD_IDX

if TYPE_CHECKING:
    from data_loader import Batch


class CiderReward:
    """CIDEr-D of captions, 0..10, against the references of their pictures.

    Args:
        references (PackedReferences): of all pictures that will be asked for.
        frequency (NgramFrequency): document frequencies, on the same device.

    Raises:
        ValueError: the two were made with different vocabularies, or only one counts `<end>`.
    """

    def __init__(self, references: PackedReferences, frequency: NgramFrequency) -> None:
        frequency.check_vocabulary(references.vocabulary_hash)
        if references.count_end != frequency.count_end:
            raise ValueError(
                f"frequency: count_end {frequency.count_end} received, {references.count_end} as "
                "in the references expected"
            )
        self.references, self.frequency = references, frequency
        self.documents = frequency.documents(references.keys)  # (U+1,)
        self.documents[-1] = frequency.num_documents  # weight 0 for what is no n-gram
        self.inverse_norms = _inverse(self._squared_norms().sqrt())  # (P,4,R)

    def signature(self) -> dict:
        """What a reader needs to compute the same numbers again."""
        return {
            "metric": "CIDEr-D",
            "n": MAX_ORDER,
            "sigma": SIGMA,
            "corpus": self.frequency.corpus,
            "num_documents": self.frequency.num_documents,
            "end_token": "yes" if self.frequency.count_end else "no",
        }

    @torch.no_grad()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """CIDEr-D of N = B x S captions.

        Args:
            tokens (Tensor): word ids as `Generation.tokens` has them, image-major, (N,T).
            batch (Batch): its `image_ids` (B) say whose captions these are.

        Returns:
            Tensor: float32, (N,); 0 for a caption without words.

        Raises:
            ValueError: a picture has no references, or N is no multiple of B.
        """
        samples = samples_per_picture(tokens, batch)
        rows = self.references.rows(batch.image_ids)
        tokens = finished_tokens(tokens, self.references.count_end)  # (N,T)
        ngrams, times = sorted_ngrams(tokens)  # (N,4,T)
        places = self.references.find(rows, ngrams)  # (N,4,T)
        squares = self._weights(ngrams, places).square()  # (N,4,T)
        norms = (squares * times).sum(dim=2).sqrt()  # (N,4); each of n equals adds n * idf^2
        counts, times = self.references.counts_at(places), times.float()  # (N,4,T,R), (N,4,T)
        clipped = torch.minimum(times[..., None], counts) * counts  # (N,4,T,R)
        shares = squares / times.clamp(min=1)  # so that n equals add up to one n-gram
        dots = (clipped * shares[..., None]).sum(dim=2)  # (N,4,R)
        cosines = (dots * _inverse(norms)[..., None]).unflatten(0, (-1, samples))  # (B,S,4,R)
        cosines = (cosines * self.inverse_norms[rows.pictures][:, None]).sum(dim=2)  # (B,S,R)
        alike = cosines * self._penalty(tokens, rows)  # (B,S,R)
        scores = alike.sum(dim=2) / rows.num_references  # (B,S)
        return (scores.flatten() * (SCALE / MAX_ORDER) * has_words(tokens)).float()

    def _weights(self, ngrams: Tensor, places: Tensor) -> Tensor:
        """idf of n-grams, 0 where there is none; (N,4,T)."""
        documents = self.documents.take(places).flatten()
        others = (places == len(self.documents) - 1) & (ngrams != 0)  # no reference has these
        index = others.flatten().nonzero().squeeze(1)  # (E,)
        documents.index_copy_(0, index, self.frequency.documents(ngrams.flatten()[index]))
        return self.frequency.idf(documents).view(ngrams.shape)

    def _penalty(self, tokens: Tensor, rows: Rows) -> Tensor:
        """Gaussian of the difference in length, in bigrams; (B,S,R)."""
        ours = (tokens != PAD_IDX).sum(dim=1).sub(1).clamp(min=0).view(len(rows.keys), -1, 1)
        theirs = self.references.lengths[rows.pictures].sub(1).clamp(min=0)[:, None]  # (B,1,R)
        difference = (ours - theirs).to(number_type(tokens.device))
        return torch.exp(difference.square() / (-2 * SIGMA**2))

    def _squared_norms(self) -> Tensor:
        """Of every reference for every order, 0 where there is none; (P,4,R).

        Summed up on the CPU, in the same order in every run.
        """
        packed, width = self.references, self.references.counts.shape[1]
        total = torch.zeros(len(packed) * MAX_ORDER, width, dtype=number_type(packed.device))
        for pictures in torch.arange(len(packed)).split(CHUNK):
            num_keys = packed.num_keys[pictures]
            begin = int(packed.key_start[pictures[0]])
            keys = slice(begin, begin + int(num_keys.sum()))
            idf = self.frequency.idf(self.documents[keys])  # (K,)
            squares = (idf[:, None] * packed.counts[keys]).square().cpu()  # (K,R)
            row = pictures.repeat_interleave(num_keys) * MAX_ORDER
            total.index_add_(0, row + order_of(packed.keys[keys]).cpu(), squares)
        return total.view(-1, MAX_ORDER, width).to(packed.device)


def _inverse(values: Tensor) -> Tensor:
    """1 / values, and 0 for 0."""
    return torch.where(values > 0, 1 / values, 0.0)
