"""The blocks of a transformer: attention with heads, feed-forward, and norms.

Every block works on vectors of one size D. Shapes: as in `model.py`, and h heads of size d = D / h,
Q questions (the words of all captions of a picture, say).

Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3 (eq. 1 and 2; heads
3.2.2; positions 3.5); L. Huang et al., "Attention on Attention for Image Captioning", ICCV 2019,
eq. 3 to 6 (`Gate`); M. Cornia et al., "Meshed-Memory Transformer for Image Captioning", CVPR 2020,
section 3.1 (memory slots). Norms stand before the blocks (pre-norm), as in the Annotated
Transformer (A. Rush, 2018) that ImageCaptioning.pytorch is built on.

Departures: keys and values (and, within one sequence, queries) come from one product; `Gate` stands
in the place of the output projection, within blocks that keep their feed-forward.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.config import TransformerConfig


class AnnotatedNorm(nn.Module):
    """scale * (x - mean) / (deviation + 1e-6) + shift, with the unbiased standard deviation.

    The layer norm of the Annotated Transformer; torch's divides by sqrt(biased variance + 1e-5).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        deviation = x.std(-1, keepdim=True) + 1e-6
        return self.weight * (x - x.mean(-1, keepdim=True)) / deviation + self.bias


def make_norm(config: TransformerConfig) -> nn.Module:
    """The layer norm that the settings ask for."""
    kinds = {"standard": nn.LayerNorm, "annotated": AnnotatedNorm}
    return kinds[config.norm](config.model_dim)


def make_feedforward(config: TransformerConfig) -> nn.Sequential:
    """Two layers with a ReLU in between (section 3.3)."""
    inner, outer = config.feedforward_dim, config.model_dim
    layers = (nn.Linear(outer, inner), nn.ReLU(), nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(inner, outer))


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) positions as sines (even columns) and cosines (odd ones) (section 3.5)."""
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)  # (length, 1)
    column = torch.arange(dim)  # pairs of columns share a wave length
    angle = position * torch.exp((column - column % 2) * (-math.log(10_000.0) / dim))
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


def to_heads(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, D) -> (B, h, T, d), a view."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def from_heads(x: Tensor) -> Tensor:
    """(B, h, T, d) -> (B, T, D)."""
    return x.transpose(1, 2).flatten(2)


def sees_until_itself(
    num_new: int, num_past: int, device: torch.device, group_size: int = 1
) -> Tensor | None:
    """Who sees whom: each word the past and itself, and in groups the whole of its group.

    Args:
        num_new (int): words that are read now, a multiple of group_size.
        num_past (int): words that were read before, a multiple of group_size.
        device (torch.device): of the answer.
        group_size (int): K words that are said at once.

    Returns:
        Tensor | None: (num_new, num_past + num_new) bool, True = visible; None where every word
        may see everything: a single new group.
    """
    if num_new == group_size:
        return None
    place = torch.arange(num_past + num_new, device=device)
    group = place // group_size
    return group[num_past:, None] >= group


class Gate(nn.Module):
    """Attention on attention: what was found passes as far as it fits what was asked."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * dim, 2 * dim)

    def forward(self, found: Tensor, asked: Tensor) -> Tensor:
        """(..., D), (..., D) -> (..., D)."""
        return F.glu(self.project(torch.cat([found, asked], -1)), -1)


class Joined(nn.Module):
    """The usual end of an attention: a linear map of all heads' results side by side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, found: Tensor, asked: Tensor) -> Tensor:
        """(..., D), (..., D) -> (..., D); what was asked does not matter."""
        return self.project(found)


class _Heads(nn.Module):
    """What the three kinds of attention share."""

    def __init__(self, config: TransformerConfig, gated: bool) -> None:
        super().__init__()
        self.dim, self.num_heads = config.model_dim, config.num_heads
        self.dropout = nn.Dropout(config.dropout)
        self.output = (Gate if gated else Joined)(config.model_dim)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, tell: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Each question compares itself with all keys and gets a mixture of their values (eq. 1).

        Dropout of the weights follows `self.dropout`, so that it can be switched like any other.

        Args:
            query (Tensor): (B, Q, D).
            key (Tensor): (B, P, D).
            value (Tensor): (B, P, D).
            mask (Tensor | None): bool, True = counts, or added to the logits; fits (B, h, Q, P).
            tell (bool): also give the weights.

        Returns:
            tuple[Tensor, Tensor | None]: (B, Q, D); the weights (B, h, Q, P).
        """
        query, key, value = (to_heads(x, self.num_heads) for x in (query, key, value))
        # The CPU's fused kernel is slow backwards: twice the time of a small model's step in bf16.
        if not (tell or (query.device.type == "cpu" and torch.is_grad_enabled())):
            rate = self.dropout.p if self.dropout.training else 0.0
            found = F.scaled_dot_product_attention(query, key, value, mask, rate)
            return from_heads(found), None
        query = query / math.sqrt(query.shape[-1])  # before the product: half precision has an end
        scores = query @ key.transpose(-1, -2)  # (B, h, Q, P)
        if mask is not None:
            is_bool = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, float("-inf")) if is_bool else scores + mask
        weights = scores.softmax(-1)
        found = self.dropout(weights).to(value.dtype) @ value
        return from_heads(found), weights if tell else None


class WordAttention(_Heads):
    """Words look at the words before them; keys and values of the past are kept, not recomputed."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, gated=False)
        self.query_key_value = nn.Linear(self.dim, 3 * self.dim)

    def forward(self, x: Tensor, past: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """New words look at the past and at each other.

        Args:
            x (Tensor): the new words, (N, G, D).
            past (Tensor): keys and values of the t words before, (N, t, 2D).
            mask (Tensor | None): who sees whom, (G, t + G), see `sees_until_itself`.

        Returns:
            tuple[Tensor, Tensor]: what they found (N, G, D); the new past (N, t + G, 2D).
        """
        query, new = self.query_key_value(x).split([self.dim, 2 * self.dim], -1)
        past = torch.cat([past, new], 1) if past.shape[1] else new
        found, _ = self.attend(query, *past.chunk(2, -1), mask)
        return self.output(found, x), past


class RegionAttention(_Heads):
    """Words look at regions, whose keys and values are computed once a picture."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, config.attention_on_attention)
        self.query = nn.Linear(self.dim, self.dim)
        self.key_value = nn.Linear(self.dim, 2 * self.dim)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (B, P, D) -> their keys and values, (B, P, D) each."""
        return self.key_value(memory).chunk(2, -1)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, tell: bool
    ) -> tuple[Tensor, Tensor | None]:
        """All words of all captions of a picture look at its regions at once.

        Args:
            x (Tensor): the words, (B, Q, D).
            keys (Tensor): of `project`, (B, P, D).
            values (Tensor): of `project`, (B, P, D).
            mask (Tensor | None): True = the region counts, (B, P).
            tell (bool): also give the weights.

        Returns:
            tuple[Tensor, Tensor | None]: what they found (B, Q, D); the weights (B, h, Q, P).
        """
        seen = None if mask is None else mask[:, None, None]  # (B, 1, 1, P)
        query = self.query(x)
        found, weights = self.attend(query, keys, values, seen, tell)
        return self.output(found, x), weights


class SceneAttention(_Heads):
    """Regions look at regions, and at learned slots if there are any."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, config.attention_on_attention)
        self.query_key_value = nn.Linear(self.dim, 3 * self.dim)
        self.slots = None
        if config.memory_slots:  # keys and values as if there were so many regions more, N(0, 1):
            # keys N(0, 1/d) times sqrt(d), values N(0, 1/m) times sqrt(m) in the original
            self.slots = nn.Parameter(torch.randn(config.memory_slots, 2 * self.dim))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, P, D) -> (B, P, D); mask (B, 1 or h, 1 or P, P) bool or added to the logits."""
        query, key, value = self.query_key_value(x).chunk(3, -1)
        if self.slots is not None:
            more = self.slots.expand(len(x), -1, -1).to(key.dtype).chunk(2, -1)  # (B, m, D) each
            key, value = torch.cat([key, more[0]], 1), torch.cat([value, more[1]], 1)
            if mask is not None:  # every region sees every slot
                mask = F.pad(mask, (0, len(self.slots)), value=mask.dtype == torch.bool)
        return self.output(self.attend(query, key, value, mask)[0], x)
