"""The one door to decoding: `generate` turns what an encoder saw into captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.config import GenerationConfig, validate
from captioning.decoding.beam import beam_search
from captioning.decoding.sampling import greedy_search, sample
from captioning.decoding.scoring import Decoder

if TYPE_CHECKING:
    from model import VisualFeatures


@dataclass
class Generation:
    """Captions as numbers, N = images * captions per image, image-major, best first.

    Args:
        tokens (Tensor): word ids without `<start>`, with `<end>` (unless cut at the greatest
            length), then `<pad>`, (N,T).
        logprobs (Tensor): the model's natural-log probability of every word at temperature 1, zero
            after `<end>`, (N,T).
        scores (Tensor): what the search ranked by: the sum of `logprobs` divided by the length
            factor, (N,).
        attention_weights (Tensor | None): where the decoder looked for each word, zero after
            `<end>`, (N,T,P).
    """

    tokens: Tensor
    logprobs: Tensor
    scores: Tensor
    attention_weights: Tensor | None = None


@torch.no_grad()
def generate(
    decoder: Decoder,
    features: VisualFeatures,
    config: GenerationConfig,
    trace: list[dict[str, Tensor]] | None = None,
) -> Generation:
    """Captions for a batch of images, without gradient.

    The decoder is used as it is: call `decoder.eval()` first, or dropout stays switched on.
    `<pad>` and `<start>` are never produced, nor is `<unk>` with `config.suppress_unk`; the
    log-probabilities reported are the model's own all the same, so one teacher-forced pass over
    `tokens` reproduces them.

    Args:
        decoder (Decoder): a network with `init_state`, `step` and `group_size`.
        features (VisualFeatures): what the encoder gave for B images.
        config (GenerationConfig): method and its settings.
        trace (list | None): beam search appends its tree to it, one dict per step (see
            `beam_search`).

    Returns:
        Generation: B * num_samples captions.

    Raises:
        ValueError: a setting lies outside its range, settings contradict each other, or the
            decoder gives NaN.
    """
    check_config(config)
    if config.method == "greedy":
        return Generation(*greedy_search(decoder, features, config))
    if config.method == "sample":
        return Generation(*sample(decoder, features, config))
    return Generation(*beam_search(decoder, features, config, trace))


def check_config(config: GenerationConfig) -> None:
    """Refuse settings outside their range, and numbers of captions that the method cannot give.

    Raises:
        ValueError: see above.
    """
    validate(config)
    most = {"greedy": 1, "beam": config.beam_size}.get(config.method)
    if most is not None and config.num_samples > most:
        allowed = f"at most {most} expected from {config.method} search"
        raise ValueError(f"num_samples: {config.num_samples} received, {allowed}")
