"""Cross-entropy: predict each next word of the human captions, all words before it given.

Source: O. Vinyals et al., "Show and Tell", CVPR 2015, equation 13; label smoothing after
C. Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from captioning.training.looking import autocast, encode
from captioning.training.schedules import sampling_probability
from captioning.training.stages import Stages
from captioning.training.update import Prepared, Sums
from data_loader import Batch
from model import DecoderOutput, doubly_stochastic_penalty
from vocabulary import PAD_IDX

if TYPE_CHECKING:
    from captioning.training.distillation import Teacher
    from captioning.training.run import Run


def caption_loss(
    output: DecoderOutput,
    captions: Tensor,
    label_smoothing: float = 0.0,
    attention_penalty: float = 0.0,
    words: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all words that count, and the loss that is minimised.

    Args:
        output (DecoderOutput): logits (N, T, V) for the inputs `captions[:, :-1]`.
        captions (Tensor): (N, T + 1) ids `<start> .. <end> <pad>`.
        label_smoothing (float): share of probability spread over all words, 0..1.
        attention_penalty (float): weight of the doubly stochastic penalty.
        words (Tensor | None): number of words the sum is divided by; None: those of `captions`.
        rows (Tensor | None): number of captions the penalty is divided by; None: N.

    Returns:
        tuple[Tensor, Tensor]: scalars: loss with smoothing and penalty, plain cross-entropy (nats
        a word; its exponential is the perplexity).
    """
    targets = captions[:, 1:]  # (N, T)
    logits = output.logits.float().flatten(0, 1)  # (N * T, V)
    words = (targets != PAD_IDX).sum() if words is None else words
    settings = {"ignore_index": PAD_IDX, "reduction": "sum"}
    loss = F.cross_entropy(logits, targets.flatten(), label_smoothing=label_smoothing, **settings)
    loss = loss / words
    plain = loss
    if label_smoothing:
        with torch.no_grad():
            plain = F.cross_entropy(logits, targets.flatten(), **settings) / words
    if attention_penalty and output.attention_weights is not None:
        penalty = doubly_stochastic_penalty(output.attention_weights.float(), targets != PAD_IDX)
        share = 1.0 if rows is None else len(captions) / rows
        loss = loss + attention_penalty * penalty * share
    return loss, plain.detach()


class CrossEntropy:
    """The objective of ordinary training; see `captioning.training.update.Objective`.

    Args:
        teacher (Teacher | None): whose probabilities are learned from as well.
    """

    counted = ("pictures", "rows", "words")
    frequency = None

    def __init__(self, teacher: Teacher | None = None) -> None:
        self.teacher = teacher
        self.logged = ("loss",) if teacher is None else ("loss", "distillation")

    def prepare(self, run: Run, batch: Batch, stages: Stages, keep: bool) -> Prepared:
        """Count words; the networks run in `loss`, one batch after the other."""
        counts = (len(batch), len(batch.captions))
        pictures, rows = (torch.tensor(float(n), device=batch.captions.device) for n in counts)
        words = batch.token_mask[:, 1:].sum()
        return Prepared(batch, {"pictures": pictures, "rows": rows, "words": words})

    def loss(self, run: Run, prepared: Prepared, totals: Sums) -> tuple[Tensor, Sums]:
        """This batch's share of the mean over all words of the step."""
        settings, batch = run.experiment.training, prepared.batch
        chance = sampling_probability(run.step, run.total_steps, settings)
        features = encode(run.captioner, batch, settings.precision)
        with autocast(run.captioner.device, settings.precision):
            output = run.captioner.decoder(features, batch.captions[:, :-1], chance)
        weights = (settings.label_smoothing, settings.attention_penalty)
        counts = (totals["words"], totals["rows"])
        loss, plain = caption_loss(output, batch.captions, *weights, *counts)
        if self.teacher is None:
            return loss, {"loss": plain}
        divergence = self.teacher.divergence(output.logits, batch, totals["words"])
        loss = loss + settings.distillation_weight * divergence
        return loss, {"loss": plain, "distillation": divergence}

    def row(self, totals: dict[str, float]) -> dict[str, float]:
        """Cross-entropy (nats a word), perplexity, and the divergence from a teacher."""
        loss = totals["loss"]
        row = {"loss": loss, "perplexity": math.exp(min(loss, 50))}
        return row | {name: totals[name] for name in self.logged if name != "loss"}

    def check(self, run: Run, row: dict[str, float]) -> None:
        """NaN is found before the step; nothing else can go wrong."""

    def postfix(self, row: dict[str, float]) -> dict[str, str]:
        """What the bar shows."""
        return {"loss": f"{row['loss']:.3f}", "words/s": f"{row['words_per_second']:.0f}"}

    def signature(self) -> None:
        """No reward is involved."""
        return None
