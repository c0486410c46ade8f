"""One word after another: greedy search, and sampling with temperature, top-k and nucleus.

Sources: A. Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k); A. Holtzman et al.,
"The Curious Case of Neural Text Degeneration", 2020 (nucleus: the smallest set of words that
reaches probability p).

Departures: the steps work on groups of G words, so that semi-autoregressive decoders need no
second copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.constraints import Constraints, constraints_of
from captioning.decoding.scoring import (
    Decoder,
    Found,
    best_words,
    is_check,
    length_divisor,
    read_words,
)
from vocabulary import END_IDX, PAD_IDX, START_IDX

if TYPE_CHECKING:
    from captioning.config import GenerationConfig
    from model import VisualFeatures


def greedy_search(
    decoder: Decoder, features: VisualFeatures, config: GenerationConfig, constraints: Constraints
) -> Found:
    """The most probable word at every step, one caption per image.

    Returns:
        tuple: tokens (B,T), logprobs (B,T), scores (B,), attention_weights (B,T,P) or None.
    """

    def choose(logprobs: Tensor) -> Tensor:
        return best_words(logprobs, 1)[1].squeeze(-1)  # (N,)

    return extend_rows(decoder, features, config, constraints, choose, rows_per_image=1)


def sample(
    decoder: Decoder, features: VisualFeatures, config: GenerationConfig, constraints: Constraints
) -> Found:
    """`config.num_samples` captions per image, drawn independently; the image is encoded once.

    Draws are independent, so two may be equal. They are returned best first within an image.

    Returns:
        tuple: tokens (N,T), logprobs (N,T), scores (N,), attention_weights (N,T,P) or None.
    """
    generator = None
    if config.seed is not None:
        generator = torch.Generator(features.regions.device).manual_seed(config.seed)

    def choose(logprobs: Tensor) -> Tensor:
        return draw_words(logprobs, config.temperature, config.top_k, config.top_p, generator)

    rows_per_image = config.num_samples
    drawn = extend_rows(decoder, features, config, constraints, choose, rows_per_image)
    if rows_per_image == 1:
        return drawn
    scores = drawn[2].view(-1, rows_per_image)  # (B,S)
    order = scores.argsort(dim=1, descending=True, stable=True)
    first_rows = torch.arange(len(scores), device=scores.device)[:, None] * rows_per_image
    rows = (first_rows + order).flatten()  # (N,)
    tokens, logprobs, scores, weights = drawn
    return tokens[rows], logprobs[rows], scores[rows], None if weights is None else weights[rows]


def draw_words(
    logprobs: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one word from every distribution: temperature first, then top-k, then nucleus.

    Args:
        logprobs (Tensor): log-probabilities, -inf where forbidden, (..., V).
        temperature (float): > 0; below 1 sharper, above 1 flatter.
        top_k (int): keep the k most probable words; 0 keeps all.
        top_p (float): of these keep the fewest most probable that reach this probability, (0, 1];
            1 keeps all.
        generator (torch.Generator | None): source of randomness, on the device of `logprobs`.

    Returns:
        Tensor: word ids, (...).
    """
    # The best word is moved to zero so that a tiny temperature cannot divide everything to -inf.
    scaled = (logprobs - logprobs.amax(dim=-1, keepdim=True)) / temperature
    words = None
    if top_k or top_p < 1:
        num_words = logprobs.shape[-1]
        count = min(top_k or num_words, num_words)
        scaled, words = scaled.topk(count, dim=-1)  # sorted, best first
    probabilities = scaled.softmax(dim=-1)
    if top_p < 1:
        better = probabilities.cumsum(dim=-1) - probabilities  # of all better words; the best: 0
        probabilities = probabilities.masked_fill(better >= top_p, 0.0)
    rows = probabilities.flatten(0, -2)  # multinomial wants a matrix, but no sums of one
    places = torch.multinomial(rows, 1, generator=generator).view(*logprobs.shape[:-1], 1)
    return (places if words is None else words.gather(-1, places)).squeeze(-1)


def sample_from_uniform(
    decoder: Decoder, features: VisualFeatures, config: GenerationConfig, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw captions with given random numbers, one for each word of each row.

    A row's caption depends on its own numbers only, so several processes that share a batch draw
    what one process would, and nothing has to be remembered to draw it again.

    Args:
        decoder (Decoder): used as it is (see `generate`).
        features (VisualFeatures): of B images.
        config (GenerationConfig): temperature, max_length, suppress_unk are used, and constraints
            that need no vocabulary (training asks for none: its policy knows of none).
        uniform (Tensor): (N,max_length) in 0..1, N = B * samples, image-major.

    Returns:
        tuple[Tensor, Tensor]: tokens (N,T) and their log-probabilities at temperature 1 (N,T), as
            in `Generation`, in the order of the rows.
    """
    columns = iter(uniform.unbind(dim=1))  # (N,) each

    def choose(logprobs: Tensor) -> Tensor:
        return invert_distribution(logprobs, next(columns), config.temperature)

    rows_per_image = len(uniform) // len(features)
    constraints = constraints_of(config)
    return extend_rows(decoder, features, config, constraints, choose, rows_per_image)[:2]


def invert_distribution(logprobs: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """The word at which the cumulated probability exceeds a number: a draw, if it is uniform.

    Args:
        logprobs (Tensor): log-probabilities, -inf where forbidden, (...,V).
        uniform (Tensor): in 0..1, (...).
        temperature (float): > 0.

    Returns:
        Tensor: word ids, (...).
    """
    scaled = logprobs if temperature == 1 else logprobs / temperature
    probabilities = scaled.softmax(dim=-1)  # (...,V)
    cumulated = probabilities.cumsum(dim=-1)
    target = uniform.clamp(max=1 - 2**-20) * cumulated[..., -1]  # below the last sum
    words = torch.searchsorted(cumulated, target.unsqueeze(-1), right=True)  # (...,1)
    words = words.clamp(max=logprobs.shape[-1] - 1)
    if words.device.type != "cpu":  # parallel sums may step up at a word of no probability
        possible = probabilities.gather(-1, words) > 0
        words = torch.where(possible, words, logprobs.argmax(dim=-1, keepdim=True))
    return words.squeeze(-1)


def extend_rows(
    decoder: Decoder,
    features: VisualFeatures,
    config: GenerationConfig,
    constraints: Constraints,
    choose: Callable[[Tensor], Tensor],
    rows_per_image: int,
) -> Found:
    """Extend every row with `choose` until it has said `<end>` or has `config.max_length` words.

    Args:
        constraints (Constraints): what may be said next.
        choose (Callable[[Tensor], Tensor]): word ids (N,) from masked log-probabilities (N,V).
        rows_per_image (int): captions per image; N = B * rows_per_image, image-major.

    Returns:
        tuple: tokens (N,T), logprobs (N,T), scores (N,), attention_weights (N,T,P) or None, T the
            length of the longest caption.
    """
    device, size = features.regions.device, decoder.group_size
    num_rows = len(features) * rows_per_image
    state = decoder.init_state(features, rows_per_image)
    words = torch.full((num_rows, size), START_IDX, device=device)
    is_open = torch.ones(num_rows, dtype=torch.bool, device=device)
    said = words[:, :0]  # (N,t), kept only where a constraint wants to know
    tokens, logprobs, weights = [], [], []  # one column (N,) or (N,P) per word

    for step in range(math.ceil(config.max_length / size)):
        is_checked = is_check(step, device, size)
        step_logprobs, state = read_words(decoder, words, state, constraints.forbidden, is_checked)
        step_weights = state["words"].get("attention_weights")
        if step_weights is not None:
            step_weights = step_weights.view(num_rows, size, -1)  # (N,G,P)
        group = []
        for column in range(min(size, config.max_length - len(tokens))):
            allowed = step_logprobs[:, column]  # (N,V)
            if constraints.is_active:
                allowed = constraints.apply(allowed, said)
            word = choose(allowed)  # (N,)
            chosen = allowed.gather(1, word[:, None]).squeeze(1)
            tokens.append(word.masked_fill(~is_open, PAD_IDX))
            logprobs.append(chosen.masked_fill(~is_open, 0.0))
            if step_weights is not None:
                weights.append(step_weights[:, column] * is_open[:, None])
            if constraints.is_active:
                said = torch.cat([said, word[:, None]], dim=1)
            is_open = is_open & (word != END_IDX)
            group.append(word)
        if is_checked and not is_open.any():
            break
        words = torch.stack(group, dim=1)  # (N,G); fewer after the last step, when no one reads it
    return finished_rows(tokens, logprobs, weights, config)


def finished_rows(
    tokens: list[Tensor], logprobs: list[Tensor], weights: list[Tensor], config: GenerationConfig
) -> Found:
    """The columns of `extend_rows` side by side, scored, without columns of padding at the end."""
    all_tokens, all_logprobs = torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1)  # (N,T)
    length = (all_tokens != PAD_IDX).sum(dim=1)
    scores = all_logprobs.sum(dim=1) / length_divisor(length, config)
    width = int(length.max())  # a group may reach past the last <end>
    all_weights = torch.stack(weights, dim=1)[:, :width] if weights else None  # (N,T,P)
    return all_tokens[:, :width], all_logprobs[:, :width], scores, all_weights
