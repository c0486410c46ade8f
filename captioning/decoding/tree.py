"""The tree that beam search grows: a column of nodes per step, and the ways back to the root.

A node knows its word and the node before it (its parent). Nothing is copied while the tree grows:
finished captions are remembered as (score, step, slot), and their words are read off at the end by
walking from there back to the root.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.decoding.scoring import NEVER
from vocabulary import PAD_IDX


@dataclass
class Column:
    """The nodes one step adds to the tree, R slots an image.

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
        if len(images) == num_images:
            return self
        values = (self.parents, self.words, self.logprobs, self.attention_weights)
        return Column(
            *(
                v if v is None else v.new_zeros(num_images, *v.shape[1:]).index_copy(0, images, v)
                for v in values
            )
        )


class Finished:
    """The best finished captions of every row: their scores and where in the tree they end.

    Args:
        num_rows (int): who keeps captions of their own: images, or groups of beams.
        size (int): captions kept in each row.
        device (torch.device): of the search.
    """

    def __init__(self, num_rows: int, size: int, device: torch.device) -> None:
        self.scores = torch.full((num_rows, size), NEVER, device=device)
        self.steps = torch.full((num_rows, size), -1, device=device)
        self.slots = torch.zeros((num_rows, size), dtype=torch.long, device=device)

    def add(self, scores: Tensor, slots: Tensor, step: int) -> None:
        """Let the captions that end at `step` compete for a place.

        Args:
            scores (Tensor): -inf where none ends, (rows,n).
            slots (Tensor): of their last words, (rows,n).
            step (int): their last column of the tree.
        """
        steps = torch.where(scores > NEVER, step, -1)
        candidates = torch.cat([self.scores, scores], dim=1)
        self.scores, kept = candidates.topk(self.scores.shape[1], dim=1)
        self.steps = torch.cat([self.steps, steps], dim=1).gather(1, kept)
        self.slots = torch.cat([self.slots, slots], dim=1).gather(1, kept)


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
    "scores" the sums the beams are ranked by, -inf where a slot is closed. A node whose word is
    `<end>` is a leaf.
    """
    return {
        "parents": column.parents[:, :beam_size].cpu(),
        "tokens": column.words[:, :beam_size].cpu(),
        "scores": running[:, :beam_size].cpu(),
    }
