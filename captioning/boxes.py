"""Boxes as numbers: which cells of a grid a box covers, and the boxes of a mirrored picture.

Boxes are left, top, right, bottom in 0..1 of the picture (xyxy). Shapes: P boxes, g x g cells.

Source: the grid vectors of Spatial-Image-Captioning (sidharth5n), whose step `prepro_areas` was
never published; its shape (P, g x g) and use are known, so the entries are our choice: the covered
share of each cell, row by row. The other reading, shares of the box, is `share="box"`.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARES = ("cell", "box")


def _check(boxes: Tensor) -> None:
    """Refuse anything but four edges a box."""
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes: shape {tuple(boxes.shape)} received, (..., 4) expected")


def _covered(low: Tensor, high: Tensor, grid: int) -> Tensor:
    """(..., P) two edges -> (..., P, g): how much of each of g intervals lies between them."""
    cell = torch.arange(grid, device=low.device)
    low, high = ((edge.unsqueeze(-1) * grid - cell).clamp(0, 1) for edge in (low, high))
    return (high - low).clamp(min=0)  # two edges that have changed places cover nothing


def grid_areas(boxes: Tensor, grid: int, share: str = "cell") -> Tensor:
    """How much of each cell of a grid a box covers, or how much of the box lies in each cell.

    What lies outside of the picture is cut off first. A box without area - a line, a point, the
    zeros of a padded region, edges that have changed places - gives zeros. NaN gives NaN, in the
    numbers of its own box only.

    Args:
        boxes (Tensor): (..., P, 4) left, top, right, bottom in 0..1.
        grid (int): g, rows and columns of the grid, >= 1.
        share (str): "cell": covered area / area of the cell, each entry 0..1; "box": the share of
            the box (of its part inside the picture) that lies in the cell, entries sum to 1.

    Returns:
        Tensor: (..., P, g x g) float32, row by row: the vertical index is the slow one.

    Raises:
        ValueError: boxes of another shape, a grid below 1, another share.
    """
    _check(boxes)
    if grid < 1:
        raise ValueError(f"grid: {grid} received, at least 1 expected")
    if share not in SHARES:
        raise ValueError(f"share: {share!r} received, one of {list(SHARES)} expected")
    left, top, right, bottom = boxes.float().unbind(-1)  # (..., P)
    columns, rows = _covered(left, right, grid), _covered(top, bottom, grid)  # (..., P, g)
    areas = (rows.unsqueeze(-1) * columns.unsqueeze(-2)).flatten(-2)  # (..., P, g * g)
    if share == "cell":
        return areas
    total = areas.sum(-1, keepdim=True)
    return areas / total.masked_fill(total == 0, 1)


def mirror_boxes(boxes: Tensor) -> Tensor:
    """The boxes (..., 4) in the picture with left and right exchanged.

    The zeros of a padded region become a point in the other corner: still without area.

    Raises:
        ValueError: boxes of another shape.
    """
    _check(boxes)
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack([1 - right, top, 1 - left, bottom], -1)
