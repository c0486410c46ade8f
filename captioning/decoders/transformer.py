"""The transformer captioner: attention in place of a memory that is rewritten at every word.

A region encoder looks at the picture once. The decoder reads words: each looks at the words before
it and at the regions. What the words before have to offer (their keys and values, the *cache*) is
kept in the state, so a new word costs one row of work, not a new look at the whole caption; the
regions' keys and values are computed once a picture and shared by all its captions.

With `group_size` K > 1 it is semi-autoregressive: K words are said at once, without knowing each
other (`groups.py`); of what it has read, every word sees its own group and those before. There are
no new weights: K = 1 is the ordinary decoder.

Shapes: as in `model.py`, and D the size of all vectors, h heads of size d = D / h, L layers.

Source: A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3; as a captioner:
ImageCaptioning.pytorch (R. Luo), whose layers and dropout are followed, and whose trained weights
fit in; meshed: M. Cornia et al., "Meshed-Memory Transformer for Image Captioning",
CVPR 2020, section 3.2; object relations, places, x_linear: see `region_encoder.py`, `space.py` and
`x_linear.py`.

Departures: padding is hidden from words by their order alone (a word never sees later ones);
`<start>` and `<pad>` are words of their own; joined matrices (queries, keys, values) get Xavier's
first weights as one, as in torch.nn.MultiheadAttention, and start smaller by up to sqrt(2); meshed
layers stand in pre-norm blocks, all encoder layers pass one final norm, and the gates weigh all
layers; all K start words are seen in training as they are in a search (the published code hides all
but the first in training: `hide_starts`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from captioning.config import DecoderConfig, TransformerConfig
from captioning.decoders.attention import (
    RegionAttention,
    WordAttention,
    make_feedforward,
    make_norm,
    sees_until_itself,
    sinusoids,
)
from captioning.decoders.groups import group_inputs, teacher_force_groups
from captioning.decoders.region_encoder import RegionEncoder
from captioning.decoders.x_linear import XLinearAttention
from model import State, VisualFeatures

MAX_WORDS = 1024  # of a caption, `<start>` included


class Looking(nn.Module):
    """Words look at the regions: of the last encoder layer, or of every one, weighed by gates."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.is_x_linear = config.cross_attention == "x_linear"
        if self.is_x_linear:
            self.attention = XLinearAttention(config.model_dim, config.dropout)
        else:
            self.attention = RegionAttention(config)
        self.gates = None
        if config.meshed:
            dim = config.model_dim
            layers = (nn.Linear(2 * dim, dim) for _ in range(config.encoder_layers))
            self.gates = nn.ModuleList(layers)

    def project(self, levels: list[Tensor]) -> Tensor:
        """Encoder layers (B, P, D) -> keys and values of those looked at, (B, levels, P, 2D)."""
        seen = levels if self.gates is not None else levels[-1:]
        projected = [torch.cat(self.attention.project(level), -1) for level in seen]
        return torch.stack(projected, 1) if len(seen) > 1 else projected[0].unsqueeze(1)

    def forward(
        self, x: Tensor, projected: Tensor, mask: Tensor | None, tell: bool
    ) -> tuple[Tensor, Tensor | None]:
        """New words of all captions look at their picture.

        Args:
            x (Tensor): (N, G, D).
            projected (Tensor): of `project`, (B, levels, P, 2D).
            mask (Tensor | None): True = the region counts, (B, P).
            tell (bool): also give the weights.

        Returns:
            tuple[Tensor, Tensor | None]: what they saw (N, G, D); weights (N, h, G, P), of the
            last encoder layer.
        """
        num_images, length = len(projected), x.shape[1]
        asked = x.reshape(num_images, -1, x.shape[-1])  # (B, S * G, D): no region is repeated
        seen, weights = [], None
        for level in projected.unbind(1):
            keys, values = level.chunk(2, -1)
            if self.is_x_linear:
                found, weights = self.attention(asked, keys, values, mask)
                weights = weights.unsqueeze(1)  # one head
            else:
                found, weights = self.attention(asked, keys, values, mask, tell)
            seen.append(found)
        result = seen[0]
        if self.gates is not None:
            shares = [
                gate(torch.cat([asked, s], -1)) for gate, s in zip(self.gates, seen, strict=True)
            ]
            total = sum(share.sigmoid() * s for share, s in zip(shares, seen, strict=True))
            result = total / math.sqrt(len(seen))
        if weights is not None:  # (B, h, S * G, P) -> (N, h, G, P)
            weights = weights.unflatten(2, (-1, length)).transpose(1, 2).flatten(0, 1)
        return result.reshape(x.shape), weights if tell else None


class WordLayer(nn.Module):
    """Words look back, look at the picture, and are worked on one by one."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.word_norm, self.region_norm = make_norm(config), make_norm(config)
        self.feedforward_norm = make_norm(config)
        self.words, self.regions = WordAttention(config), Looking(config)
        self.feedforward = make_feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        past: Tensor,
        order: Tensor | None,
        projected: Tensor,
        mask: Tensor | None,
        tell: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """New words (N, G, D) and the past -> them again, the new past, weights (N, h, G, P)."""
        found, past = self.words(self.word_norm(x), past, order)
        x = x + self.dropout(found)
        found, weights = self.regions(self.region_norm(x), projected, mask, tell)
        x = x + self.dropout(found)
        return x + self.dropout(self.feedforward(self.feedforward_norm(x))), past, weights


class DecoderTransformer(nn.Module):
    """A transformer over regions and words; see the head of this file.

    Args:
        vocab_size (int): V.
        feature_dim (int): F of the regions.
        config (DecoderConfig): `transformer` has sizes and options.

    Raises:
        ValueError: sizes or options that do not go together.
    """

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        sizes = config.transformer
        check_options(sizes)
        self.num_layers, width = sizes.num_layers, sizes.model_dim
        self.group_size, self.hides_starts = sizes.group_size, sizes.hide_starts
        self.encoder = RegionEncoder(feature_dim, sizes)
        self.embedding = nn.Embedding(vocab_size, width)
        self.register_buffer("positions", sinusoids(MAX_WORDS, width), persistent=False)
        self.layers = nn.ModuleList(WordLayer(sizes) for _ in range(sizes.num_layers))
        self.norm = make_norm(sizes)
        self.dropout = nn.Dropout(sizes.dropout)
        self.output = nn.Linear(width, vocab_size)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and not name.endswith("slots"):
                nn.init.xavier_uniform_(parameter)

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """Regions look at regions; every layer's keys and values of them, once a picture.

        Raises:
            ValueError: boxes are needed, and the features have none.
        """
        levels = self.encoder(features)
        image = {f"layer_{i}": one.regions.project(levels) for i, one in enumerate(self.layers)}
        if features.region_mask is not None:
            image["mask"] = features.region_mask
        rows = len(features) * rows_per_image
        nothing = levels[-1].new_zeros(rows, 0, 2 * levels[-1].shape[-1])  # (N, 0, 2D)
        return {"image": image, "words": {f"layer_{i}": nothing for i in range(self.num_layers)}}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Known words (N, G) -> logits (N, G, V), state after the last.

        G is a multiple of `group_size` K. Row t of the logits is for the word K places after word
        t: the next one for K = 1, and the whole next group for a group. The new state tells where
        the last layer looked: `attention_weights` (N, G, P), the mean of its heads.

        Raises:
            ValueError: the caption is longer than there are positions; a group is not whole.
        """
        x, state, weights = self.read(tokens, state)
        state["words"]["attention_weights"] = weights[-1].mean(1)
        return self.output(x), state

    forward = teacher_force_groups  # (features, captions[:, :-1]) -> logits, weights (N, T, P)

    @torch.no_grad()
    def look_at_heads(self, features: VisualFeatures, captions: Tensor) -> Tensor:
        """Where every head of every layer looks, for each word of given captions.

        Args:
            features (VisualFeatures): of B pictures.
            captions (Tensor): `<start>` and words, (N, T).

        Returns:
            Tensor: (N, L, h, T, P), sums to one over P; entry t: to choose the word after t.
        """
        state = self.init_state(features, len(captions) // len(features))
        grouped = group_inputs(captions, self.group_size)
        weights = torch.stack(self.read(grouped, state, every_layer=True)[2], 1)
        return weights[:, :, :, : captions.shape[1]]

    def read(
        self, tokens: Tensor, state: State, every_layer: bool = False
    ) -> tuple[Tensor, State, list[Tensor]]:
        """Known words through all layers: (N, G, D), the new state, weights (N, h, G, P)."""
        image, past = state["image"], state["words"]
        first, length = past["layer_0"].shape[1], tokens.shape[1]
        if first + length > MAX_WORDS:
            raise ValueError(f"captions: {first + length} words received, at most {MAX_WORDS}")
        if length % self.group_size:
            raise ValueError(
                f"tokens: {length} words received, a multiple of group_size ({self.group_size}) "
                "expected"
            )
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        x = self.dropout(x + self.positions[first : first + length])  # (N, G, D)
        order = self.visible(length, first, tokens.device)
        words, looked = {}, []
        for i, layer in enumerate(self.layers):
            name, tell = f"layer_{i}", every_layer or i + 1 == self.num_layers
            x, words[name], weights = layer(
                x, past[name], order, image[name], image.get("mask"), tell
            )
            looked += [weights] if tell else []
        return self.norm(x), {"image": image, "words": words}, looked

    def visible(self, length: int, first: int, device: torch.device) -> Tensor | None:
        """Which words (all until now) each of the new ones sees, (G, t + G); None: all."""
        order = sees_until_itself(length, first, device, self.group_size)
        if self.hides_starts and self.training and self.group_size > 1:
            if order is None:
                order = torch.ones(length, first + length, dtype=torch.bool, device=device)
            order[:, 1 : self.group_size] = False
        return order


def check_options(config: TransformerConfig) -> None:
    """Refuse sizes and options that do not go together.

    Raises:
        ValueError: the setting, what it is, what is allowed.
    """
    if config.model_dim % config.num_heads:
        raise ValueError(
            f"decoder.transformer.model_dim: {config.model_dim} received, a multiple of num_heads "
            f"({config.num_heads}) expected"
        )
    gated = config.attention_on_attention and config.cross_attention == "x_linear"
    if gated and not config.encoder_layers:
        raise ValueError(
            "decoder.transformer.attention_on_attention: True received, but x_linear has a gate "
            "and there is no other attention to regions (encoder_layers 0)"
        )
    for name in ("relations", "memory_slots", "meshed"):
        if getattr(config, name) and not config.encoder_layers:
            raise ValueError(
                f"decoder.transformer.{name}: {getattr(config, name)} received, but there is no "
                "layer for it (encoder_layers 0)"
            )
