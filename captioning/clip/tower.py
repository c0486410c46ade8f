"""The picture side of small CLIPs: a CNN's grid, a few attention layers over it, one vector.

CLIP's own picture encoders need millions of pictures. Here a CNN that can see already (frozen) is
looked through; what is learned is how its cells add up to a vector that sentences can be compared
with.

Source: A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021, section 2.4 (a transformer over patches and one extra token that becomes the vector).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GridTower(nn.Module):
    """Pictures (B, 3, H, W) -> vectors (B, D).

    Args:
        encoder (nn.Module): pictures -> `VisualFeatures` of P cells of F numbers.
        num_cells (int): P.
        feature_dim (int): F.
        output_dim (int): D.
        width (int): size of a cell inside.
        layers (int): attention layers over the cells.
        heads (int): of each.
        dropout (float): share of the CNN's numbers dropped while training, 0..1.
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_cells: int,
        feature_dim: int,
        output_dim: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.dropout = encoder, dropout
        self.project = nn.Linear(feature_dim, width)
        self.place = nn.Parameter(torch.randn(num_cells, width) * 0.02)  # of each cell
        self.whole = nn.Parameter(torch.randn(width) * 0.02)  # the token that becomes the vector
        self.before = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.after = nn.LayerNorm(width)
        self.output = nn.Linear(width, output_dim, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), of any length."""
        return self.pool(self.encoder(images).regions)

    def pool(self, regions: Tensor) -> Tensor:
        """The same from the CNN's cells (B, P, F)."""
        regions = F.dropout(regions, self.dropout, self.training)
        cells = self.before(self.project(regions) + self.place)  # (B, P, W)
        whole = self.whole.expand(len(cells), 1, -1)
        states = self.layers(torch.cat([whole, cells], 1))  # (B, 1 + P, W)
        return self.output(self.after(states[:, 0]))
