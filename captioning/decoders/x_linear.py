"""X-linear attention: words look at regions by multiplying them with each other, number by number.

A word (query) i and a region (key) j are first multiplied, b_ij = q_i * k_j, D numbers. A layer of
D / 2 numbers, m_ij = dropout(ReLU(W b_ij)), tells from them how much the region matters (a softmax
over the regions) and, averaged over the regions, which numbers of the result pass (a gate):

    out_i = sigmoid(W_g mean_j m_ij) * sum_j softmax_j(w m_ij) (q2_i * v_j)

with query q, key k, second query q2 and value v = LayerNorm(CELU(linear(.))), four different ones.

The plain form builds several tensors of words x regions x D numbers in each layer. Here one chunk
of words at a time meets its regions, and the backward pass does each chunk anew in place of keeping
it; q2 does not depend on j, so that it is multiplied after the sum. `benchmarks/x_linear.py`
measures both.

Shapes: B pictures, Q words of all captions of a picture, P regions, D model size.

Source: Y. Pan et al., "X-Linear Attention Networks for Image Captioning", CVPR 2020, figure 1(b),
in the form of Spatial-Image-Captioning (sidharth5n): one head, first order, no output projection.

Departures: the score has no bias, which no softmax can see; the group norm with one group over a
single position is written as what it is, a layer norm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The largest tensor, words x regions x D numbers of a chunk: of smaller ones there would be so many
# that starting and sharing out their operations costs more than computing them.
CHUNK_BYTES = 32 * 2**20


def compare(
    queries: Tensor,
    keys: Tensor,
    mask: Tensor | None,
    weights: Sequence[Tensor],
    dropout: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Words meet regions, in full size.

    Args:
        queries (Tensor): (B, Q, D).
        keys (Tensor): (B, P, D).
        mask (Tensor | None): (B, P) bool, True = the region counts.
        weights (Sequence): W (D / 2, D), its bias (D / 2,), w (1, D / 2).
        dropout (float): 0..1.
        generator (torch.Generator | None): where dropout draws from; None: torch's own.

    Returns:
        tuple[Tensor, Tensor]: scores w m_ij (B, Q, P); sums of m_ij over the regions that count
            (B, Q, D / 2).
    """
    mix, bias, score = weights
    mixed = queries.unsqueeze(2) * keys.unsqueeze(1)  # (B, Q, P, D): the large one
    mixed = F.linear(mixed, mix, bias).relu_()  # (B, Q, P, D / 2)
    if dropout:
        drawn = torch.rand(mixed.shape, generator=generator, device=mixed.device)
        mixed = mixed.masked_fill(drawn < dropout, 0)
    scores = F.linear(mixed, score).squeeze(-1)
    if mask is None:
        sums = mixed.sum(2)
    else:
        counts = mask[:, None, None].to(mixed.dtype)  # (B, 1, 1, P)
        sums = (counts @ mixed).squeeze(2)
    return scores / (1 - dropout), sums / (1 - dropout)


def chunks(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice]]:
    """Pictures and words that meet at once: several pictures, or a part of one picture's words."""
    num_pictures, num_words = queries.shape[:2]
    fit = max(1, CHUNK_BYTES // (keys.shape[1] * keys.shape[2] * keys.element_size()))  # words
    pictures = max(1, fit // num_words)
    words = math.ceil(num_words / math.ceil(num_words / fit))  # parts of about the same size
    for first in range(0, num_pictures, pictures):
        for start in range(0, num_words, words):
            yield slice(first, first + pictures), slice(start, start + words)


class CompareInChunks(torch.autograd.Function):
    """`compare`, a chunk at a time, and again for the backward pass: nothing large is kept.

    Results are float32 at least. Dropout draws from a generator of its own, started at `seed`, so
    that both passes drop the same numbers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        mask: Tensor | None,
        dropout: float,
        seed: int,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(B, Q, D), (B, P, D), (B, P) -> (B, Q, P), (B, Q, D / 2)."""
        ctx.save_for_backward(queries, keys, mask, *weights)
        ctx.dropout, ctx.seed, kind = dropout, seed, queries.device.type
        ctx.autocast = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        dtype = torch.promote_types(queries.dtype, torch.float32)
        scores, sums = (
            queries.new_empty(*queries.shape[:2], size, dtype=dtype)
            for size in (keys.shape[1], len(weights[0]))
        )
        generator = torch.Generator(queries.device).manual_seed(seed)
        for some, words in chunks(queries, keys):
            part = queries[some, words], keys[some], None if mask is None else mask[some]
            scores[some, words], sums[some, words] = compare(*part, weights, dropout, generator)
        return scores, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, score_grad: Tensor, sum_grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys and weights."""
        queries, keys, mask, *weights = ctx.saved_tensors
        grads = [torch.zeros_like(x) for x in (queries, keys, *weights)]
        generator = torch.Generator(queries.device).manual_seed(ctx.seed)
        precision = torch.autocast(queries.device.type, *ctx.autocast, cache_enabled=False)
        for some, words in chunks(queries, keys):
            parts = queries[some, words], keys[some], *weights
            parts = [x.detach().requires_grad_() for x in parts]
            some_mask = None if mask is None else mask[some]
            with torch.enable_grad(), precision:
                results = compare(*parts[:2], some_mask, parts[2:], ctx.dropout, generator)
            told = [
                grad[some, words].to(result.dtype)
                for grad, result in zip((score_grad, sum_grad), results, strict=True)
            ]
            places = (grads[0][some, words], grads[1][some], *grads[2:])
            for place, grad in zip(places, torch.autograd.grad(results, parts, told), strict=True):
                place += grad
        return grads[0], grads[1], None, None, None, *grads[2:]


def _embed(dim: int) -> nn.Sequential:
    """One of the four maps of queries, keys and values."""
    return nn.Sequential(nn.Linear(dim, dim), nn.CELU(), nn.LayerNorm(dim))


class XLinearAttention(nn.Module):
    """Cross-attention with one head; the words of all captions of a picture are Q rows of it.

    Args:
        model_dim (int): D.
        dropout (float): 0..1, of the layer that compares.
    """

    def __init__(self, model_dim: int, dropout: float) -> None:
        super().__init__()
        inner = max(1, model_dim // 2)
        self.query, self.key = _embed(model_dim), _embed(model_dim)
        self.value_query, self.value = _embed(model_dim), _embed(model_dim)
        self.mix = nn.Linear(model_dim, inner)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(inner, 1, bias=False)
        self.gate = nn.Linear(inner, model_dim)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (B, P, D) -> keys and values (B, P, D), once a picture."""
        return self.key(memory), self.value(memory)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each word finds in its picture, and where.

        Args:
            queries (Tensor): (B, Q, D).
            keys (Tensor): of `project`, (B, P, D).
            values (Tensor): of `project`, (B, P, D).
            mask (Tensor | None): (B, P) bool, True = the region counts, at least one a picture;
                None when all do.

        Returns:
            tuple[Tensor, Tensor]: the result (B, Q, D); the weights (B, Q, P), at least float32.
        """
        dropout = self.dropout.p if self.dropout.training else 0.0
        seed = int(torch.randint(2**62, ())) if dropout else 0
        weights = (self.mix.weight, self.mix.bias, self.score.weight)
        scores, sums = CompareInChunks.apply(
            self.query(queries), keys, mask, dropout, seed, *weights
        )
        number: Tensor | int = keys.shape[1]
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
            number = mask.sum(-1)[:, None, None]  # (B, 1, 1)
        attention = scores.softmax(-1)  # (B, Q, P)
        gate = self.gate(sums / number).sigmoid()  # (B, Q, D)
        found = attention.to(values.dtype) @ values  # (B, Q, D)
        return gate * self.value_query(queries) * found, attention
