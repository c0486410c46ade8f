"""Regions look at each other before a word is said: the encoder of the transformer.

Source: as `attention.py`; object relations: S. Herdade et al., "Image Captioning: Transforming
Objects into Words", NeurIPS 2019, section 3; memory slots: Cornia et al. 2020, section 3.1.
"""

from __future__ import annotations

from torch import Tensor, nn

from captioning.config import TransformerConfig
from captioning.decoders.attention import SceneAttention, make_feedforward, make_norm
from captioning.decoders.space import (
    RelationBias,
    SpatialPosition,
    boxes_of,
    embed_geometry,
    needs_boxes,
    pair_geometry,
)
from model import VisualFeatures


class RegionLayer(nn.Module):
    """Regions look at regions, then each is worked on by itself."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm, self.feedforward_norm = make_norm(config), make_norm(config)
        self.attention, self.feedforward = SceneAttention(config), make_feedforward(config)
        self.relations = RelationBias(config.num_heads) if config.relations else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, geometry: Tensor | None) -> Tensor:
        """(B, P, D), (B, 1, 1, P) bool, (B, P, P, 64) -> (B, P, D)."""
        if self.relations is not None:
            bias = self.relations(geometry)  # (B, h, P, P)
            mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))


class RegionEncoder(nn.Module):
    """A picture's regions, each knowing of the others, and of its place if the settings say so.

    Args:
        feature_dim (int): F.
        config (TransformerConfig): sizes and options.
    """

    def __init__(self, feature_dim: int, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.model_dim
        dropout = nn.Dropout(config.region_dropout)
        self.embed_regions = nn.Sequential(nn.Linear(feature_dim, width), nn.ReLU(), dropout)
        self.position = None
        if config.position != "none":
            more = (width, config.position_grid, config.area_share, config.dropout)
            self.position = SpatialPosition(config.position, *more)
        self.layers = nn.ModuleList(RegionLayer(config) for _ in range(config.encoder_layers))
        self.norm = make_norm(config)

    def forward(self, features: VisualFeatures) -> list[Tensor]:
        """What each layer made of the regions, (B, P, D) each, the last layer's last.

        Raises:
            ValueError: boxes are needed, and the features have none.
        """
        x = self.embed_regions(features.regions)  # (B, P, D)
        boxes = boxes_of(features) if needs_boxes(self.config) else None
        if self.position is not None:
            x = self.position(x, boxes)
        geometry = None
        if self.config.relations:
            geometry = embed_geometry(pair_geometry(boxes, self.config.relations_plus_one))
        x = x.to(self.embed_regions[0].weight.dtype)  # sums stay precise under autocast
        mask = features.region_mask
        mask = None if mask is None else mask[:, None, None]  # (B, 1, 1, P)
        levels = []
        for layer in self.layers:
            x = layer(x, mask, geometry)
            levels.append(x)
        return [self.norm(level) for level in levels or [x]]
