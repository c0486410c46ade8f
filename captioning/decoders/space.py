"""What a captioner makes of where its regions lie: object relations and spatial positions.

*Object relations* compare the boxes of two regions (`pair_geometry`), write the comparison as
sines and cosines (`embed_geometry`), and turn it into a weight for each head of an attention among
regions (`RelationBias`). *Spatial positions* (`SpatialPosition`) tell each region its own place.
Both work on boxes (left, top, right, bottom in 0..1), which not every feature store has.

Shapes: B pictures, P regions, D model size, h heads, g x g cells of a grid.

Source: S. Herdade et al., "Image Captioning: Transforming Objects into Words", NeurIPS 2019,
section 3, and its code (yahoo/object_relation_transformer); positions: the code of
Spatial-Image-Captioning (sidharth5n), kinds `gxg`, `g2` and `box-coord`.

Departures: widths are not one too large: the published code adds 1, as for pixels, to boxes in
0..1, so that it hardly sees sizes (`plus_one` does the same); widths have a floor instead. Sizes
are divided as in that code, own by other (the paper: other by own). A position's areas are computed
from the boxes, not read from files. The distances of a pair have no sign: object relations cannot
tell left from right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioning.boxes import grid_areas
from captioning.config import TransformerConfig
from model import VisualFeatures

GEOMETRY_DIM = 64  # sines and cosines of 4 numbers at 8 wave lengths
MIN_DISTANCE = 1e-3  # of two centres, in widths (heights) of the first box
MIN_SIZE = 1e-3  # of a box, in widths of the picture: less than a pixel, and what padding has
MIN_GATE = 1e-6
KINDS = ("gxg", "g2", "box_coord")


def needs_boxes(config: TransformerConfig) -> bool:
    """Whether a captioner of these settings has to know where its regions lie."""
    return config.relations or config.position != "none"


def boxes_of(features: VisualFeatures) -> Tensor:
    """The boxes (B, P, 4) of features, for a captioner that cannot do without.

    Raises:
        ValueError: there are none, or not one for each region; the message says what to do.
    """
    expected = (*features.regions.shape[:2], 4)
    if features.boxes is None:
        raise ValueError(
            f"features.boxes: none received, {expected} expected: this captioner has to know where "
            "its regions lie (decoder.transformer.relations or position); `features extract` "
            "stores the boxes of grid cells, `features regions` those of regions"
        )
    if features.boxes.shape != expected:
        found = tuple(features.boxes.shape)
        raise ValueError(f"features.boxes: shape {found} received, {expected} expected")
    return features.boxes


def pair_geometry(boxes: Tensor, plus_one: bool = False) -> Tensor:
    """How the boxes of each two regions lie to each other.

    Centres (x, y) and sizes (w, h) of regions m and n give log(|x_m - x_n| / w_m),
    log(|y_m - y_n| / h_m), log(w_m / w_n), log(h_m / h_n); the two distances are at least 1e-3, and
    sizes too, so that boxes without area (padded regions) give finite numbers.

    Args:
        boxes (Tensor): (B, P, 4).
        plus_one (bool): add 1 to widths and heights, as the published code does.

    Returns:
        Tensor: (B, P, P, 4) float32, the second dimension is m.
    """
    first, last = boxes.float().chunk(2, -1)  # (B, P, 2)
    centre, size = (first + last) / 2, (last - first + float(plus_one)).clamp(min=MIN_SIZE)
    distance = (centre.unsqueeze(2) - centre.unsqueeze(1)).abs() / size.unsqueeze(2)
    ratio = size.unsqueeze(2) / size.unsqueeze(1)  # (B, P, P, 2)
    return torch.cat([distance.clamp(min=MIN_DISTANCE), ratio], -1).log()


def embed_geometry(geometry: Tensor) -> Tensor:
    """(B, P, P, 4) -> (B, P, P, 64): 32 sines, then the cosines of the same angles.

    An angle is a number x 100 / 1000^(k / 8), k = 0..7: the 8 of the first number come first.
    """
    k = torch.arange(8, device=geometry.device)
    angles = (geometry.unsqueeze(-1) * (100 / 1000 ** (k / 8))).flatten(-2)  # (B, P, P, 32)
    return torch.cat([angles.sin(), angles.cos()], -1)


class RelationBias(nn.Module):
    """What each head adds to its attention logits: log max(ReLU(linear(embedding)), 1e-6).

    softmax(log w + logits) = w exp(logits) / sum of the same: the weights of the paper.

    Args:
        num_heads (int): h.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.gate = nn.Linear(GEOMETRY_DIM, num_heads)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, P, P, 64) -> (B, h, P, P), region m looks at region n, float32."""
        gates = self.gate(embedding).float().permute(0, 3, 1, 2).contiguous()  # (B, h, P, P)
        return gates.clamp(min=MIN_GATE).log()  # the floor does what the ReLU would


class SpatialPosition(nn.Module):
    """Tells each region its place in the picture.

    | kind | x becomes |
    |---|---|
    | gxg | dropout(W3 x + W1 r + W2 c), r and c = sums of the grid's areas by row and by column |
    | g2 | dropout(x + W v), v = all areas of the grid |
    | box_coord | dropout(x + W2 ReLU(W1 box)) |

    Args:
        kind (str): "gxg", "g2" or "box_coord".
        model_dim (int): D.
        grid (int): g, rows and columns of the grid (not for box_coord).
        share (str): "cell" or "box", see `captioning.boxes.grid_areas`.
        dropout (float): 0..1.

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str, model_dim: int, grid: int, share: str, dropout: float) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"position: {kind!r} received, one of {list(KINDS)} expected")
        self.kind, self.grid, self.share = kind, grid, share
        self.dropout = nn.Dropout(dropout)
        if kind == "gxg":
            self.regions = nn.Linear(model_dim, model_dim)
            self.rows, self.columns = nn.Linear(grid, model_dim), nn.Linear(grid, model_dim)
        elif kind == "g2":
            self.cells = nn.Linear(grid * grid, model_dim)
        else:
            inner = max(1, model_dim // 2)
            layers = (nn.Linear(4, inner), nn.ReLU(), nn.Linear(inner, model_dim))
            self.edges = nn.Sequential(*layers)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        """Regions (B, P, D) and their boxes (B, P, 4) -> (B, P, D)."""
        if self.kind == "box_coord":
            return self.dropout(x + self.edges(boxes))
        areas = grid_areas(boxes, self.grid, self.share)  # (B, P, g * g)
        if self.kind == "g2":
            return self.dropout(x + self.cells(areas))
        areas = areas.unflatten(-1, (self.grid, self.grid))  # (B, P, g, g)
        rows, columns = self.rows(areas.sum(-1)), self.columns(areas.sum(-2))  # (B, P, D)
        return self.dropout(self.regions(x) + rows + columns)
