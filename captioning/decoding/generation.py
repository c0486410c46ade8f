"""The one door to decoding: `generate` turns what an encoder saw into captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.config import GenerationConfig
from captioning.decoding.beam import beam_search
from captioning.decoding.constraints import constraints_of, start_ids
from captioning.decoding.sampling import greedy_search, sample
from captioning.decoding.scoring import Decoder
from captioning.settings import validate

if TYPE_CHECKING:
    from model import VisualFeatures
    from vocabulary import Vocabulary


@dataclass
class Generation:
    """Captions as numbers, N = images * captions per image, image-major, best first.

    Args:
        tokens (Tensor): word ids without `<start>`, with `<end>` (unless cut at the greatest
            length), then `<pad>`, (N,T).
        logprobs (Tensor): the model's natural-log probability of every word at temperature 1, zero
            after `<end>`, (N,T).
        scores (Tensor): what captions are ranked by: the sum of `logprobs` divided as
            `length_normalization` says, (N,).
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
    vocabulary: Vocabulary | None = None,
) -> Generation:
    """Captions for a batch of images, without gradient.

    The decoder is used as it is: call `decoder.eval()` first, or dropout stays switched on.
    What settings forbid (see `constraints.py`) is never produced; the log-probabilities reported
    are the model's own all the same, so one teacher-forced pass over `tokens` reproduces them.

    Args:
        decoder (Decoder): a network with `init_state`, `step` and `group_size`.
        features (VisualFeatures): what the encoder gave for B images.
        config (GenerationConfig): method and its settings.
        trace (list | None): beam search appends its tree to it, one dict per step (see
            `beam_search`).
        vocabulary (Vocabulary | None): the words behind the ids, for `start_words` and
            `remove_bad_endings`.

    Returns:
        Generation: B * num_samples captions.

    Raises:
        ValueError: a setting lies outside its range, settings contradict each other or need the
            vocabulary, or the decoder gives NaN.
    """
    check_config(config)
    constraints = constraints_of(config, vocabulary)
    if config.method == "greedy":
        return Generation(*greedy_search(decoder, features, config, constraints))
    if config.method == "sample":
        return Generation(*sample(decoder, features, config, constraints))
    return Generation(*beam_search(decoder, features, config, constraints, trace))


def check_config(config: GenerationConfig, vocabulary: Vocabulary | None = None) -> None:
    """Refuse settings outside their range, and settings that contradict each other.

    Args:
        vocabulary (Vocabulary | None): if given, `start_words` are looked up in it.

    Raises:
        ValueError: see above.
    """
    validate(config)
    groups, beams = config.num_beam_groups, config.beam_size
    if config.method == "diverse_beam" and beams % groups:
        allowed = f"a number that divides beam_size ({beams}) expected"
        raise ValueError(f"num_beam_groups: {groups} received, {allowed}")
    most = {"greedy": 1, "beam": beams, "diverse_beam": beams}.get(config.method)
    if most is not None and config.num_samples > most:
        allowed = f"at most {most} expected from {config.method} search"
        others = " (sample, beam and diverse_beam give several)" if most == 1 else ""
        raise ValueError(f"num_samples: {config.num_samples} received, {allowed}{others}")
    if config.min_length > config.max_length:
        allowed = f"at most max_length ({config.max_length}) expected"
        raise ValueError(f"min_length: {config.min_length} received, {allowed}")
    if vocabulary is not None:
        start_ids(config, vocabulary)
