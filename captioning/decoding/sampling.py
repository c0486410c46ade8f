"""One word after another: greedy search, and sampling with temperature, top-k and nucleus.

Sources: A. Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k); A. Holtzman et al.,
"The Curious Case of Neural Text Degeneration", 2020 (nucleus: the smallest set of words that
reaches probability p).

Departures: the steps work on groups of G words, so that semi-autoregressive decoders need no
second copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.scoring import (
    Decoder,
    best_words,
    forbidden_words,
    length_factor,
    word_logprobs,
)
from vocabulary import END_IDX, PAD_IDX, START_IDX

if TYPE_CHECKING:
    from captioning.config import GenerationConfig
    from model import VisualFeatures


def greedy_search(
    decoder: Decoder, features: VisualFeatures, config: GenerationConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The most probable word at every step, one caption per image.

    Returns:
        tuple: tokens (B,T), logprobs (B,T), scores (B,), attention_weights (B,T,P) or None.
    """

    def choose(logprobs: Tensor) -> Tensor:
        return best_words(logprobs, 1)[1].squeeze(-1)  # (N,G)

    return extend_rows(decoder, features, config, choose, rows_per_image=1)


def sample(
    decoder: Decoder, features: VisualFeatures, config: GenerationConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
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
    drawn = extend_rows(decoder, features, config, choose, rows_per_image)
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
        config (GenerationConfig): temperature, max_length, suppress_unk are used.
        uniform (Tensor): (N,max_length) in 0..1, N = B * samples, image-major.

    Returns:
        tuple[Tensor, Tensor]: tokens (N,T) and their log-probabilities at temperature 1 (N,T), as
            in `Generation`, in the order of the rows.
    """
    size = decoder.group_size
    padded = torch.nn.functional.pad(uniform, (0, -uniform.shape[1] % size))
    groups = iter(padded.split(size, dim=1))  # (N,G) each

    def choose(logprobs: Tensor) -> Tensor:
        return invert_distribution(logprobs, next(groups), config.temperature)

    rows_per_image = len(uniform) // features.regions.shape[0]
    return extend_rows(decoder, features, config, choose, rows_per_image)[:2]


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
    choose: Callable[[Tensor], Tensor],
    rows_per_image: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Extend every row with `choose` until it has said `<end>` or has `config.max_length` words.

    Args:
        choose (Callable[[Tensor], Tensor]): word ids (N,G) from masked log-probabilities (N,G,V).
        rows_per_image (int): captions per image; N = B * rows_per_image, image-major.

    Returns:
        tuple: tokens (N,T), logprobs (N,T), scores (N,), attention_weights (N,T,P) or None, T the
            length of the longest caption.
    """
    forbidden = forbidden_words(config.suppress_unk)
    state = decoder.init_state(features, rows_per_image)
    num_rows = features.regions.shape[0] * rows_per_image
    words = features.regions.new_full((num_rows, decoder.group_size), START_IDX, dtype=torch.long)
    is_open = torch.ones(num_rows, dtype=torch.bool, device=words.device)
    tokens, logprobs, weights = [], [], []  # one column (N,) or (N,P) per word

    while len(tokens) < config.max_length and is_open.any():
        logits, state = decoder.step(words, state)
        step_logprobs = word_logprobs(logits, forbidden)  # (N,G,V)
        words = choose(step_logprobs)  # (N,G)
        chosen = step_logprobs.gather(-1, words[..., None]).squeeze(-1)  # (N,G)
        step_weights = state["words"].get("attention_weights")
        for column in range(min(decoder.group_size, config.max_length - len(tokens))):
            tokens.append(words[:, column].masked_fill(~is_open, PAD_IDX))
            logprobs.append(chosen[:, column].masked_fill(~is_open, 0.0))
            if step_weights is not None:
                group_weights = step_weights.view(num_rows, decoder.group_size, -1)  # (N,G,P)
                weights.append(group_weights[:, column] * is_open[:, None])
            is_open = is_open & (words[:, column] != END_IDX)

    tokens, logprobs = torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1)  # (N,T)
    length = (tokens != PAD_IDX).sum(dim=1)
    scores = logprobs.sum(dim=1) / length_factor(length, config.length_penalty)
    width = int(length.max())  # a group may reach past the last <end>
    stacked_weights = torch.stack(weights, dim=1)[:, :width] if weights else None  # (N,T,P)
    return tokens[:, :width], logprobs[:, :width], scores, stacked_weights
