"""Beam search, batched over images: keep the K best beginnings of a caption instead of one.

Each image owns K slots, and for K > 1 one more slot that follows the greedy caption. That caption
is therefore always a candidate, and no beam ends up with a lower score than greedy search. Without
it a beam can: the greedy beginning may be pushed out of the beam by K beginnings that look better
and end worse.

A decoder that says K words at once gives K columns of log-probabilities, which are used up one
after the other in ordinary steps (`group.py`): scores, rules and ends are those of single words.

*Diverse* beam search divides the K slots into groups, each a beam of its own. At every step the
groups choose one after the other, and a word loses `diversity_penalty` for each beam of an earlier
group of this image that has just chosen it (Hamming diversity; `<end>` is a word like the others,
start words cost nothing). A group ranks its beams by sums that carry every penalty they paid; the
scores reported carry none. Its first group pays nothing: it is a beam search without the further
slot. With one group it is beam search.

Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144 (length
normalisation); A. Vijayakumar et al., "Diverse Beam Search", AAAI 2018, arXiv:1610.02424 (groups);
Y. Zhou et al., "Semi-Autoregressive Transformer for Image Captioning", 2021, arXiv:2106.09436, and
its code (K words at once).

Departures: a finished caption leaves its slot to an open one at the next step (so a beam of one
*is* greedy search); the search of an image ends when it is proven that no open slot can win, not
by a pruning heuristic; what is returned of several groups is sorted by score.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.constraints import Constraints
from captioning.decoding.group import first_group
from captioning.decoding.scoring import (
    NEVER,
    Decoder,
    Found,
    best_words,
    is_check,
    length_divisor,
)
from captioning.decoding.tree import Column, Finished, trace_entry, walk_back
from vocabulary import END_IDX, PAD_IDX

if TYPE_CHECKING:
    from captioning.config import GenerationConfig
    from model import VisualFeatures


def beam_search(
    decoder: Decoder,
    features: VisualFeatures,
    config: GenerationConfig,
    constraints: Constraints,
    trace: list[dict[str, Tensor]] | None = None,
) -> Found:
    """The best `config.num_samples` of the captions that a beam of `config.beam_size` finds.

    Args:
        constraints (Constraints): what may be said next.
        trace (list | None): receives the tree, one dict per step (see `trace_entry`).

    Returns:
        tuple: tokens (N,T), logprobs (N,T), scores (N,), attention_weights (N,T,P) or None with
            N = B * num_samples, image-major, best first. Should an image have fewer possible
            captions, the rest is padding with score -inf.

    Raises:
        ValueError: the beam is wider than the vocabulary.
    """
    num_images, device = len(features), features.regions.device
    slots, forbidden = slot_groups(config), constraints.forbidden
    word_group = first_group(decoder, features, slots[-1].stop, forbidden)
    check_width(config, word_group.logprobs.shape[-1] - len(forbidden))
    running = open_roots(num_images, slots, device)
    found, greedy = places(num_images, config, device)
    images = torch.arange(num_images, device=device)  # the images still searched, (A,)
    said = word_group.words  # (A*R,t), kept only where a constraint wants to know
    tree: list[Column] = []

    for step in range(config.max_length):
        is_checked = is_check(step, device)
        if word_group.is_used_up:
            word_group = word_group.next_group(is_checked)
        logprobs, weights = word_group.column()  # (A*R,V), (A*R,P)
        if constraints.is_active:
            logprobs = constraints.apply(logprobs, said)
        penalty = penalty_at(step, config, constraints)
        column, sums = grow(logprobs, weights, running[images], slots, penalty)
        column = column.spread(images, num_images)  # (B,R), so that the tree has one shape
        running = torch.full_like(running, NEVER).index_copy(0, images, sums)
        tree.append(column)
        if trace is not None:
            trace.append(trace_entry(column, running, config.beam_size))

        running = collect(column.words, running, step, found, greedy, config)
        running = close_decided(running, found, config)
        kept = torch.arange(len(images), device=device)
        if is_checked:
            kept = (running[images] > NEVER).any(dim=1).nonzero().squeeze(1)
            if not len(kept):
                break
        rows = rows_of(column.parents[images], kept)
        images = images[kept]
        word_group.follow(rows, kept, column.words[images].flatten())
        if constraints.is_active:
            said = torch.cat([said[rows], word_group.words[:, -1:]], dim=1)

    return best_captions(found, greedy, tree, config)


def number_of_groups(config: GenerationConfig) -> int:
    """Groups of beams that avoid each other's words: one but for diverse beam search."""
    return config.num_beam_groups if config.method == "diverse_beam" else 1


def slot_groups(config: GenerationConfig) -> list[slice]:
    """The slots of each group of beams; with one group also the slot of the greedy caption.

    A beam of one is greedy already.
    """
    width = config.beam_size // number_of_groups(config)
    groups = [slice(first, first + width) for first in range(0, config.beam_size, width)]
    if len(groups) > 1 or width == 1:
        return groups
    return [*groups, slice(width, width + 1)]


def penalty_at(step: int, config: GenerationConfig, constraints: Constraints) -> float:
    """What the words of earlier groups cost at a step; nothing where all must say the same."""
    is_free = number_of_groups(config) == 1 or step < len(constraints.start)
    return 0.0 if is_free else config.diversity_penalty


def open_roots(num_images: int, groups: list[slice], device: torch.device) -> Tensor:
    """What slots are ranked by before the first word, (B,R): all are equal, one a group is open."""
    running = torch.full((num_images, groups[-1].stop), NEVER, device=device)
    for group in groups:
        running[:, group.start] = 0.0
    return running


def places(
    num_images: int, config: GenerationConfig, device: torch.device
) -> tuple[Finished, Finished]:
    """Where the finished captions of each group will stand, and the greedy one of each image."""
    num_groups = number_of_groups(config)
    kept = math.ceil(config.num_samples / num_groups)  # from each group
    return Finished(num_images * num_groups, kept, device), Finished(num_images, 1, device)


def check_width(config: GenerationConfig, num_words: int) -> None:
    """Refuse a beam that the first step cannot fill.

    Raises:
        ValueError: `beam_size` exceeds the number of words that may be chosen.
    """
    most = num_words * number_of_groups(config)
    if config.beam_size > most:
        raise ValueError(
            f"beam_size: {config.beam_size} received, 1 to {most} expected (the words to choose "
            "from)"
        )


def grow(
    logprobs: Tensor, weights: Tensor | None, running: Tensor, groups: list[slice], penalty: float
) -> tuple[Column, Tensor]:
    """Choose the next column of the tree: the best continuations of every group.

    Args:
        logprobs (Tensor): masked log-probabilities, (A*R,V).
        weights (Tensor | None): where the decoder looked, (A*R,P).
        running (Tensor): what every slot is ranked by, -inf where closed, (A,R).
        groups (list[slice]): which slots belong together.
        penalty (float): what a word costs for each beam of an earlier group that chose it.

    Returns:
        tuple[Column, Tensor]: the column, and what its nodes are ranked by (A,R).
    """
    num_images, num_slots = running.shape
    by_image = logprobs.view(num_images, num_slots, -1)  # (A,R,V)
    costs = None  # (A,V), once a group has chosen
    chosen: list[tuple[Tensor, Tensor, Tensor]] = []
    for slots in groups:
        parents, words, sums = best_continuations(by_image[:, slots], running[:, slots], costs)
        chosen.append((parents + slots.start, words, sums))
        if penalty:
            costs = torch.zeros_like(by_image[:, 0]) if costs is None else costs
            costs = costs.scatter_add(1, words, penalty * (sums > NEVER).to(costs.dtype))
    parents, words, sums = (torch.cat(parts, dim=1) for parts in zip(*chosen, strict=True))
    own = by_image.flatten(1).gather(1, parents * by_image.shape[2] + words)  # (A,R)
    if weights is not None:
        weights = weights.view(num_images, num_slots, -1)  # (A,R,P)
    return Column(parents, words, own, weights), sums


def best_continuations(
    logprobs: Tensor, running: Tensor, costs: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The W best continuations of a beam of W.

    They are among the W best words of each slot: one topk over all words, then a tiny one over W*W.

    Args:
        logprobs (Tensor): (A,W,V).
        running (Tensor): (A,W).
        costs (Tensor | None): taken off each word, (A,V).

    Returns:
        tuple[Tensor, Tensor, Tensor]: parents, words and sums, (A,W) each, best first.
    """
    width = running.shape[1]
    ranked = logprobs if costs is None else logprobs - costs[:, None]
    values, choices = best_words(ranked, width)  # (A,W,W)
    sums, best = (running[..., None] + values).flatten(1).topk(width, dim=1)  # slot * W + rank
    return best // width, choices.flatten(1).gather(1, best), sums


def collect(
    words: Tensor,
    running: Tensor,
    step: int,
    found: Finished,
    greedy: Finished,
    config: GenerationConfig,
) -> Tensor:
    """Rank the captions that end at this step, remember the best, and close their slots.

    At the greatest length every caption ends, with or without `<end>`.

    Returns:
        Tensor: what the slots are ranked by, -inf where closed, (B,R).
    """
    is_end = (words == END_IDX) | (step + 1 == config.max_length)  # (B,R)
    scores = running / length_divisor(step + 1, config)
    scores = scores.masked_fill(~is_end, NEVER)
    slots = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    size, width = config.beam_size, config.beam_size // number_of_groups(config)
    found.add(scores[:, :size].reshape(-1, width), slots[:, :size].reshape(-1, width), step)
    greedy.add(scores[:, size:], slots[:, size:], step)
    return running.masked_fill(is_end, NEVER)


def close_decided(running: Tensor, found: Finished, config: GenerationConfig) -> Tensor:
    """Close all slots of the images where no open caption can still be returned.

    What a slot is ranked by never rises: every further word adds a log-probability of at most zero
    and a penalty takes something off; constraints only remove words. It is at most zero, and the
    divisor never falls as the length grows, so the score of a given sum is highest at the greatest
    length. Hence no caption that begins with an open slot scores above running / divisor of
    `max_length`, whatever `min_length` or other settings say of its ending. Once in every group the
    worst of the captions to be kept reaches the highest of these bounds, the image is decided, and
    it leaves the batch. (A group that is decided before the others goes on until then: what it
    chooses is what later groups pay for.)

    Returns:
        Tensor: what the slots are ranked by, -inf where closed, (B,R).
    """
    num_images = len(running)
    bounds = running / length_divisor(config.max_length, config)  # (B,R)
    bounds = bounds.view(num_images, number_of_groups(config), -1).amax(dim=2)
    is_decided = found.scores[:, -1].view(num_images, -1) >= bounds  # (B,groups)
    return running.masked_fill(is_decided.all(dim=1, keepdim=True), NEVER)


def rows_of(parents: Tensor, kept: Tensor) -> Tensor:
    """The rows that are continued by the slots of the images that go on.

    Args:
        parents (Tensor): parent slots of the images searched until now, (A,R).
        kept (Tensor): places of the images that go on, ascending, (A',).

    Returns:
        Tensor: (A'*R,), of A*R.
    """
    return (kept[:, None] * parents.shape[1] + parents[kept]).flatten()


def best_captions(
    found: Finished, greedy: Finished, tree: list[Column], config: GenerationConfig
) -> Found:
    """Read the captions off the tree, let the greedy one compete, and keep the best.

    What several groups found counts once as long as there is anything else to return.

    Returns:
        tuple: as `beam_search` returns.
    """
    num_images = len(greedy.scores)
    steps = torch.cat([found.steps.view(num_images, -1), greedy.steps], dim=1)  # (B,C)
    slots = torch.cat([found.slots.view(num_images, -1), greedy.slots], dim=1)
    tokens, logprobs, weights = walk_back(tree, steps, slots)  # (B,C,T)
    scores = logprobs.sum(dim=-1) / length_divisor((steps + 1).clamp(min=1), config)

    is_repeat = (tokens[:, :, None] == tokens[:, None]).all(dim=-1).tril(-1).any(dim=-1)  # (B,C)
    is_none = steps < 0
    is_none[:, -1] |= is_repeat[:, -1]  # the beam found the greedy caption too
    scores = scores.masked_fill(is_none, NEVER)
    order = scores.argsort(dim=1, descending=True, stable=True)
    tier = is_none.int() * 2 + is_repeat  # first the new ones, then repeats, then none
    order = order.gather(1, tier.gather(1, order).argsort(dim=1, stable=True))
    kept = order[:, : config.num_samples]  # (B,n)
    scores, order = scores.gather(1, kept).sort(dim=1, descending=True, stable=True)
    kept = kept.gather(1, order)

    is_none = is_none.gather(1, kept)[..., None]  # (B,n,1)
    tokens = tokens.take_along_dim(kept[..., None], 1).masked_fill(is_none, PAD_IDX).flatten(0, 1)
    logprobs = logprobs.take_along_dim(kept[..., None], 1).masked_fill(is_none, 0.0).flatten(0, 1)
    width = max(1, int((tokens != PAD_IDX).sum(dim=1).max()))
    if weights is not None:
        weights = weights.take_along_dim(kept[..., None, None], 1)
        weights = weights.masked_fill(is_none[..., None], 0.0).flatten(0, 1)[:, :width]
    return tokens[:, :width], logprobs[:, :width], scores.flatten(), weights
