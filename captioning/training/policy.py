"""The captioner as a policy: what it would say, and how probable it finds what was said."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.decoding.scoring import forbidden_words
from model import VisualFeatures
from vocabulary import PAD_IDX, START_IDX


def set_dropout(network: nn.Module, on: bool) -> None:
    """Switch dropout alone; other layers stay in training mode, which CUDA's LSTM needs."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train(on)


def policy_logprobs(
    decoder: nn.Module,
    features: VisualFeatures,
    tokens: Tensor,
    temperature: float = 1.0,
    suppress_unk: bool = True,
) -> tuple[Tensor, Tensor]:
    """One teacher-forced pass: the log-probability of every word of given captions.

    Args:
        decoder (nn.Module): see DESIGN; gradient flows through it and through the features.
        features (VisualFeatures): of B pictures.
        tokens (Tensor): (N,T) ids without `<start>`, image-major, as `Generation.tokens`.
        temperature (float): the captions were drawn with.
        suppress_unk (bool): `<unk>` cannot be drawn.

    Returns:
        tuple[Tensor, Tensor]: logits (N,T,V) of the policy, -inf for what it never says;
        logprobs (N,T), zero for `<pad>`.
    """
    start = torch.full_like(tokens[:, :1], START_IDX)
    logits = decoder(features, torch.cat([start, tokens[:, :-1]], 1)).logits.float()  # (N,T,V)
    if temperature != 1:
        logits = logits / temperature
    logits[..., forbidden_words(suppress_unk)] = float("-inf")
    flat, words = logits.flatten(0, 1), tokens.flatten()
    losses = F.cross_entropy(flat, words, ignore_index=PAD_IDX, reduction="none")
    return logits, -losses.view_as(tokens)
