"""Perplexity: how many words the model hesitates between, on average, where people wrote one.

It is the exponential of the mean negative log-probability of a word of the human captions, `<end>`
included, each time given the picture and the words that people wrote before. 1 would be certainty;
a model that knew nothing would have as many as there are words.

Source: F. Jelinek, R. L. Mercer, L. R. Bahl, J. K. Baker, "Perplexity - a measure of the difficulty
of speech recognition tasks", JASA 62, 1977.
Departures: a word outside the vocabulary counts as `<unk>`, which makes a small vocabulary look
good, so models are compared at equal vocabularies only; of a caption longer than the model was
trained on the words up to there count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import VisualFeatures
from vocabulary import PAD_IDX, UNK_IDX

LARGEST = 690.0  # nats a word: its exponential is still a number, and JSON has no infinity


class Loss(NamedTuple):
    """What some words cost: the sum of their negative log-probabilities, in nats.

    Args:
        nats (float): the sum.
        words (int): how many words, each `<end>` included.
        unknown (int): how many of them are `<unk>`.
    """

    nats: float = 0.0
    words: int = 0
    unknown: int = 0

    def plus(self, other: Loss) -> Loss:
        """The loss of the words of both."""
        return Loss(*(a + b for a, b in zip(self, other, strict=True)))

    def perplexity(self) -> float:
        """exp(mean loss of a word), 1 or more; 0 where there are no words."""
        return math.exp(min(self.nats / self.words, LARGEST)) if self.words else 0.0


@torch.inference_mode()
def reference_loss(
    decoder: nn.Module,
    features: VisualFeatures,
    references: Sequence[Sequence[Sequence[int]]],
    max_length: int,
) -> Loss:
    """What human captions cost the model, given their pictures.

    One caption of each picture at a time, so that memory does not grow with the captions.

    Args:
        decoder (nn.Module): a network with `forward(features, words)`, in evaluation mode.
        features (VisualFeatures): what the encoder saw in B pictures.
        references (Sequence): B lists of captions as `Vocabulary.encode` makes them, not cut; every
            picture has at least one.
        max_length (int): most words of a caption that the model was trained on.
    """
    device = features.regions.device
    loss = Loss()
    for number in range(max(map(len, references))):
        has_one = [number < len(some) for some in references]
        # Another picture reads its first caption again, and none of the words count.
        rows = [some[number if has else 0] for some, has in zip(references, has_one, strict=True)]
        words = _padded(
            [row if len(row) <= max_length + 2 else row[: max_length + 1] for row in rows]
        )
        targets = words[:, 1:].masked_fill(~torch.tensor(has_one)[:, None], PAD_IDX)  # (B, T)
        logits = decoder(features, words[:, :-1].to(device)).logits  # (B, T, V)
        nats = F.cross_entropy(
            logits.float().flatten(0, 1),
            targets.flatten().to(device),
            ignore_index=PAD_IDX,
            reduction="sum",
        )
        counts = int((targets != PAD_IDX).sum()), int((targets == UNK_IDX).sum())
        loss = loss.plus(Loss(float(nats), *counts))
    return loss


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as a tensor, with `<pad>` behind the shorter ones."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_IDX] * (longest - len(row))] for row in rows])
