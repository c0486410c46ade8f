"""Sentence BLEU-4 as a reward: on word ids, for all captions of a batch at once, on their device.

`captioning/evaluation/bleu.py` is the readable twin.

Source: K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
2002, section 2.
Departures: those of the twin (two small constants in place of smoothing, the closest reference's
length); `<end>` is a word unless it is switched off, as in CIDEr-D.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.evaluation.bleu import SMALL, TINY
from captioning.evaluation.ngrams import MAX_ORDER
from captioning.rewards.ngrams import (
    finished_tokens,
    has_words,
    number_type,
    samples_per_picture,
    sorted_ngrams,
)
from captioning.rewards.references import PackedReferences, Rows
from vocabulary import PAD_IDX

if TYPE_CHECKING:
    from data_loader import Batch


class BleuReward:
    """BLEU-4 of single captions, 0..1, against the references of their pictures.

    Args:
        references (PackedReferences): of all pictures that will be asked for.
    """

    def __init__(self, references: PackedReferences) -> None:
        self.references = references

    def signature(self) -> dict:
        """What a reader needs to compute the same numbers again."""
        return {
            "metric": "BLEU-4",
            "n": MAX_ORDER,
            "reference_length": "closest",
            "end_token": "yes" if self.references.count_end else "no",
        }

    @torch.no_grad()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """BLEU-4 of N = B x S captions.

        Args:
            tokens (Tensor): word ids as `Generation.tokens` has them, image-major, (N,T).
            batch (Batch): its `image_ids` (B) say whose captions these are.

        Returns:
            Tensor: float32, (N,); 0 for a caption without words.

        Raises:
            ValueError: a picture has no references, or N is no multiple of B.
        """
        samples_per_picture(tokens, batch)
        rows = self.references.rows(batch.image_ids)
        tokens = finished_tokens(tokens, self.references.count_end)  # (N,T)
        ngrams, times = sorted_ngrams(tokens)  # (N,4,T)
        counts = self.references.counts_at(self.references.find(rows, ngrams))  # (N,4,T,R)
        most = counts.amax(dim=3)  # (N,4,T)
        dtype = number_type(tokens.device)
        # so that n equals add up to one n-gram
        shares = torch.minimum(times, most).to(dtype) / times.clamp(min=1)
        matches = shares.sum(dim=2)  # (N,4)
        guesses = (ngrams != 0).sum(dim=2).to(dtype)  # (N,4)
        length = (tokens != PAD_IDX).sum(dim=1)  # (N,)
        precision = ((matches + TINY) / (guesses + SMALL)).log().mean(dim=1).exp()
        ratio = (length + TINY) / (self._closest_length(length, rows) + SMALL)
        penalty = torch.exp((1 - 1 / ratio).clamp(max=0))
        return (precision * penalty * has_words(tokens)).float()

    def _closest_length(self, length: Tensor, rows: Rows) -> Tensor:
        """Length of the reference closest to a caption, of two the shorter one; (N,)."""
        theirs = self.references.lengths[rows.pictures][:, None]  # (B,1,R)
        ours = length.view(len(rows.keys), -1, 1)  # (B,S,1)
        # Twice the distance, and one more for a longer reference: no two lengths are equally far.
        far = 2 * (theirs - ours).abs() + (theirs > ours)  # (B,S,R)
        none = torch.arange(theirs.shape[2], device=far.device) >= rows.num_references  # (B,R)
        best = far.masked_fill(none[:, None], torch.iinfo(far.dtype).max).argmin(dim=2)  # (B,S)
        return theirs.squeeze(1).gather(1, best).flatten()
