"""Beam search, batched over images: keep the K best beginnings of a caption instead of one.

The search is a tree. Every step adds one column of nodes; a node knows its word and the node
before it (its parent). Nothing is copied while the tree grows: finished captions are remembered as
(score, step, slot) and their words are read off at the end by walking from there back to the root.

Each image owns K slots, and for K > 1 one more slot that follows the greedy caption. That caption
is therefore always a candidate, and no beam ends up with a lower score than greedy search. Without
it a beam can: the greedy beginning may be pushed out of the beam by K beginnings that look better
and end worse.

Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144 (length
normalisation).

Departures: a finished caption leaves its slot to an open one at the next step (so a beam of one
*is* greedy search); the search of an image ends when it is proven that no open slot can win, not
by a pruning heuristic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.scoring import (
    Decoder,
    State,
    best_words,
    forbidden_words,
    length_factor,
    word_logprobs,
)
from vocabulary import END_IDX, PAD_IDX, START_IDX

if TYPE_CHECKING:
    from captioning.config import GenerationConfig
    from model import VisualFeatures

NEVER = float("-inf")  # the running score of a slot that is not open


@dataclass
class Column:
    """The nodes one step adds to the tree: slots 0..K-1 are the beam, the last is the greedy one.

    Args:
        parents (Tensor): slot in the column before, (B,R).
        words (Tensor): word ids, (B,R).
        logprobs (Tensor): log-probability of the word, (B,R).
        attention_weights (Tensor | None): where the *parents* looked to choose the word, (B,R,P),
            by parent slot.
    """

    parents: Tensor
    words: Tensor
    logprobs: Tensor
    attention_weights: Tensor | None

    def spread(self, images: Tensor, num_images: int) -> Column:
        """The column of all B images, from that of the images still searched; the rest is zero."""
        values = (self.parents, self.words, self.logprobs, self.attention_weights)
        return Column(
            *(
                v if v is None else v.new_zeros(num_images, *v.shape[1:]).index_copy(0, images, v)
                for v in values
            )
        )


class Finished:
    """The best finished captions of every image: their scores and where in the tree they end."""

    def __init__(self, num_images: int, size: int, device: torch.device) -> None:
        self.scores = torch.full((num_images, size), NEVER, device=device)
        self.steps = torch.full((num_images, size), -1, device=device)
        self.slots = torch.zeros((num_images, size), dtype=torch.long, device=device)

    def add(self, scores: Tensor, step: int, first_slot: int = 0) -> None:
        """Let the captions that end at `step` compete for a place.

        Args:
            scores (Tensor): of the slots from `first_slot` on, -inf where none ends, (B, slots).
            step (int): their last column of the tree.
            first_slot (int): slot of the first score.
        """
        slots = torch.arange(scores.shape[1], device=scores.device) + first_slot
        steps = torch.where(scores > NEVER, step, -1)
        candidates = torch.cat([self.scores, scores], dim=1)
        self.scores, kept = candidates.topk(self.scores.shape[1], dim=1)
        self.steps = torch.cat([self.steps, steps], dim=1).gather(1, kept)
        self.slots = torch.cat([self.slots, slots.expand_as(scores)], dim=1).gather(1, kept)


def beam_search(
    decoder: Decoder,
    features: VisualFeatures,
    config: GenerationConfig,
    trace: list[dict[str, Tensor]] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The best `config.num_samples` of the captions that a beam of `config.beam_size` finds.

    Args:
        trace (list | None): receives the tree, one dict per step (see `trace_entry`).

    Returns:
        tuple: tokens (N,T), logprobs (N,T), scores (N,), attention_weights (N,T,P) or None with
            N = B * num_samples, image-major, best first. Should an image have fewer possible
            captions, the rest is padding with score -inf.

    Raises:
        ValueError: the beam is wider than the vocabulary, or the decoder writes several words per
            step.
    """
    if decoder.group_size != 1:
        raise ValueError(f"group_size: {decoder.group_size} received, beam search expects 1")
    num_images, device = features.regions.shape[0], features.regions.device
    beam_size = config.beam_size
    num_slots = beam_size if beam_size == 1 else beam_size + 1  # R: a beam of one is greedy already
    forbidden = forbidden_words(config.suppress_unk)

    state = decoder.init_state(features, num_slots)
    words = torch.full((num_images, num_slots), START_IDX, device=device)
    running = torch.full((num_images, num_slots), NEVER, device=device)
    running[:, 0] = running[:, -1] = 0.0  # all are equal at the root: open one, and the greedy one
    found = Finished(num_images, config.num_samples, device)
    greedy = Finished(num_images, 1, device)
    images = torch.arange(num_images, device=device)  # the images still searched, (A,)
    tree: list[Column] = []

    for step in range(config.max_length):
        logits, state = decoder.step(words.view(-1, 1), state)  # (A*R,1,V)
        if step == 0:
            check_width(beam_size, logits.shape[-1] - len(forbidden))
        logprobs = word_logprobs(logits[:, 0], forbidden)  # (A*R,V)
        column, sums = grow(logprobs, running[images], beam_size, state)
        column = column.spread(images, num_images)  # (B,R), so that the tree has one shape
        running = torch.full_like(running, NEVER).index_copy(0, images, sums)
        tree.append(column)
        if trace is not None:
            trace.append(trace_entry(column, running, beam_size))

        running = collect(column.words, running, step, found, greedy, config)
        running = close_decided(running, found, config)
        is_open = (running > NEVER).any(dim=1)  # (B,)
        if not is_open.any():
            break
        state = reorder(state, column.parents[images], is_open[images])
        images = is_open.nonzero().squeeze(1)
        words = column.words[images]

    return best_captions(found, greedy, tree)


def check_width(beam_size: int, num_words: int) -> None:
    """Refuse a beam that the first step cannot fill.

    Raises:
        ValueError: `beam_size` exceeds the number of words that may be chosen.
    """
    if beam_size > num_words:
        raise ValueError(
            f"beam_size: {beam_size} received, 1 to {num_words} expected (the words to choose from)"
        )


def grow(logprobs: Tensor, running: Tensor, beam_size: int, state: State) -> tuple[Column, Tensor]:
    """Choose the next column of the tree: the K best continuations of the beam, and the greedy one.

    Args:
        logprobs (Tensor): masked log-probabilities, (B*R,V).
        running (Tensor): sum of log-probabilities of every slot, -inf where closed, (B,R).
        beam_size (int): K.
        state (State): the decoder's, read for its attention weights.

    Returns:
        tuple[Column, Tensor]: the column, and the running sums of its nodes (B,R).
    """
    num_images, num_slots = running.shape
    # The K best of K*V continuations are among the K best words of each slot: one topk over all
    # words, then a tiny one over K*K.
    values, choices = best_words(logprobs, beam_size)  # (B*R,K)
    values = values.view(num_images, num_slots, beam_size)
    choices = choices.view(num_images, num_slots, beam_size)

    sums = running[:, :beam_size, None] + values[:, :beam_size]  # (B,K,K)
    sums, best = sums.flatten(1).topk(beam_size, dim=1)  # (B,K); an index counts slot * K + rank
    parents = best // beam_size
    words = choices[:, :beam_size].flatten(1).gather(1, best)
    chosen = values[:, :beam_size].flatten(1).gather(1, best)

    if num_slots > beam_size:  # the last slot continues itself with its own best word
        parents = torch.cat([parents, torch.full_like(parents[:, :1], beam_size)], dim=1)
        words = torch.cat([words, choices[:, beam_size:, 0]], dim=1)
        chosen = torch.cat([chosen, values[:, beam_size:, 0]], dim=1)
        sums = torch.cat([sums, running[:, beam_size:] + values[:, beam_size:, 0]], dim=1)

    weights = state["words"].get("attention_weights")
    if weights is not None:
        weights = weights.view(num_images, num_slots, -1)  # (B,R,P)
    return Column(parents, words, chosen, weights), sums


def collect(
    words: Tensor,
    running: Tensor,
    step: int,
    found: Finished,
    greedy: Finished,
    config: GenerationConfig,
) -> Tensor:
    """Score the captions that end at this step, remember the best, and close their slots.

    At the greatest length every caption ends, with or without `<end>`.

    Returns:
        Tensor: running sums, -inf in closed slots, (B,R).
    """
    is_end = (words == END_IDX) | (step + 1 == config.max_length)  # (B,R)
    scores = running / length_factor(step + 1, config.length_penalty)
    scores = scores.masked_fill(~is_end, NEVER)
    found.add(scores[:, : config.beam_size], step)
    greedy.add(scores[:, config.beam_size :], step, first_slot=config.beam_size)
    return running.masked_fill(is_end, NEVER)


def close_decided(running: Tensor, found: Finished, config: GenerationConfig) -> Tensor:
    """Close all slots of the images where no open caption can still be returned.

    Every further word adds a log-probability of at most zero, so the sum never rises. The sum is
    negative and is divided by a factor that grows with the length, so the score of a given sum is
    highest at the greatest length. Hence no caption that begins with an open slot scores above
    running / length_factor(max_length). Once the worst of the captions to be returned reaches the
    highest of these bounds, the image is decided, and it leaves the batch.

    Returns:
        Tensor: running sums, -inf in closed slots, (B,R).
    """
    bounds = running / length_factor(config.max_length, config.length_penalty)  # (B,R)
    is_decided = found.scores[:, -1] >= bounds.amax(dim=1)  # (B,)
    return running.masked_fill(is_decided[:, None], NEVER)


def reorder(state: State, parents: Tensor, is_open: Tensor) -> State:
    """The state in which every slot continues its parent, and only the open images remain.

    Args:
        parents (Tensor): parent slots of the images in the state, (A,R).
        is_open (Tensor): which of these images go on, (A,).
    """
    num_slots = parents.shape[1]
    open_images = is_open.nonzero().squeeze(1)
    rows = (open_images[:, None] * num_slots + parents[is_open]).flatten()
    words = {name: tensor.index_select(0, rows) for name, tensor in state["words"].items()}
    image = state["image"]  # the same for all slots: it changes only when images leave
    if len(open_images) < len(is_open):
        image = {name: tensor.index_select(0, open_images) for name, tensor in image.items()}
    return {"image": image, "words": words}


def best_captions(
    found: Finished, greedy: Finished, tree: list[Column]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Read the captions off the tree, let the greedy one compete, and keep the best.

    Returns:
        tuple: as `beam_search` returns.
    """
    num_samples = found.scores.shape[1]
    scores = torch.cat([found.scores, greedy.scores], dim=1)  # (B,n+1)
    steps = torch.cat([found.steps, greedy.steps], dim=1)
    slots = torch.cat([found.slots, greedy.slots], dim=1)

    tokens, _, _ = walk_back(tree, steps, slots)  # (B,n+1,T)
    is_known = (tokens[:, :-1] == tokens[:, -1:]).all(dim=-1).any(dim=1)  # the beam found it too
    scores[:, -1] = scores[:, -1].masked_fill(is_known, NEVER)
    steps = torch.where(scores > NEVER, steps, -1)

    scores, kept = scores.topk(num_samples, dim=1)  # (B,n)
    tokens, logprobs, weights = walk_back(tree, steps.gather(1, kept), slots.gather(1, kept))
    tokens, logprobs = tokens.flatten(0, 1), logprobs.flatten(0, 1)  # (N,T)
    width = max(1, int((tokens != PAD_IDX).sum(dim=1).max()))
    weights = None if weights is None else weights.flatten(0, 1)[:, :width]
    return tokens[:, :width], logprobs[:, :width], scores.flatten(), weights


def walk_back(
    tree: list[Column], steps: Tensor, slots: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The words on the way from the root to given nodes.

    Args:
        steps (Tensor): column of the last word, -1 for no caption, (B,n).
        slots (Tensor): slot of the last word, (B,n).

    Returns:
        tuple: tokens (B,n,T) with `<pad>` after the last word, logprobs (B,n,T), weights
            (B,n,T,P) or None.
    """
    tokens, logprobs, weights = [], [], []
    for step in reversed(range(len(tree))):
        column = tree[step]
        is_inside = steps >= step  # (B,n)
        tokens.append(column.words.gather(1, slots).masked_fill(~is_inside, PAD_IDX))
        logprobs.append(column.logprobs.gather(1, slots).masked_fill(~is_inside, 0.0))
        parents = column.parents.gather(1, slots)
        if column.attention_weights is not None:
            index = parents[..., None].expand(-1, -1, column.attention_weights.shape[-1])
            looked = column.attention_weights.gather(1, index)  # (B,n,P)
            weights.append(looked.masked_fill(~is_inside[..., None], 0.0))
        slots = torch.where(is_inside, parents, slots)
    stacked_weights = torch.stack(weights[::-1], dim=2) if weights else None
    return torch.stack(tokens[::-1], dim=2), torch.stack(logprobs[::-1], dim=2), stacked_weights


def trace_entry(column: Column, running: Tensor, beam_size: int) -> dict[str, Tensor]:
    """What a picture of the tree needs of one step, (B,K) each, on the CPU.

    "tokens" are the words of the new nodes, "parents" the slots they continue in the step before,
    "scores" the sums of log-probabilities from the root, -inf where a slot is closed. A node whose
    word is `<end>` is a leaf.
    """
    return {
        "parents": column.parents[:, :beam_size].cpu(),
        "tokens": column.words[:, :beam_size].cpu(),
        "scores": running[:, :beam_size].cpu(),
    }
