"""Regions of given boxes: what a CNN sees inside them, and where the boxes come from.

`pool_regions` averages the encoder's map inside each box (RoIAlign with one cell a box), so that a
thing becomes one region whatever its size; the whole picture is one more region, the last, which
shows scenery and keeps pictures without things from having none.

Source: K. He et al., "Mask R-CNN", ICCV 2017, section 3 (RoIAlign: no rounding of boxes to cells);
torchvision's `roi_align`, half a cell shifted (`aligned`), with about one sample a cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from captioning.datasets.instances import load_instances
from data_loader import pad_regions
from model import VisualFeatures


def pool_regions(
    encoder: nn.Module, images: Tensor, boxes: Sequence[Tensor], whole_picture: bool = True
) -> VisualFeatures:
    """What an encoder sees inside boxes; of mirrored pictures in mirrored boxes, say.

    Args:
        encoder (nn.Module): a CNN whose `body` turns pictures into maps (`model.EncoderCNN`).
        images (Tensor): (B, 3, H, W) normalised pictures, whole: what a crop cuts off has no place
            in it.
        boxes (Sequence[Tensor]): B times (P, 4) left, top, right, bottom in 0..1; P may differ.
        whole_picture (bool): the whole picture is one more region, the last.

    Returns:
        VisualFeatures: regions (B, P, F), the longest P; boxes (B, P, 4); region_mask (B, P), or
        None when all pictures have as many regions.

    Raises:
        ValueError: boxes of other pictures, or a picture without any region.
    """
    if len(boxes) != len(images):
        raise ValueError(f"boxes: of {len(boxes)} pictures received, {len(images)} expected")
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=images.device)
    whole = whole[: int(whole_picture)]  # (1, 4), or (0, 4) without
    places = [torch.cat([one.to(whole), whole]) for one in boxes]  # (P, 4) each
    if not all(map(len, places)):
        empty = [len(one) for one in places].index(0)
        raise ValueError(f"boxes: none for picture {empty}, 1 or more expected, or whole_picture")
    grid = encoder.body(images).float()  # (B, F, h, w)
    height, width = grid.shape[2:]
    cells = torch.tensor([width, height, width, height], device=images.device)
    pooled = roi_align(grid, [one * cells for one in places], 1, aligned=True)  # (all P, F, 1, 1)
    regions = pooled.flatten(1).split([len(one) for one in places])  # B times (P, F)
    padded, mask, padded_boxes = pad_regions(list(zip(regions, places, strict=True)))
    return VisualFeatures(padded, None if mask is None else mask.to(images.device), padded_boxes)


# ---------------------------------------------------------------------------- instances files


class GivenBoxes(NamedTuple):
    """Boxes of the things in pictures, as annotations name them."""

    boxes: dict[int, Tensor]  # picture id -> (P, 4) left, top, right, bottom in 0..1
    sizes: dict[int, tuple[int, int]]  # width and height in pixels they were noted for
    left_out: int  # boxes without area inside of their picture


def read_instances(data: str | Path, splits: Sequence[str]) -> GivenBoxes:
    """The boxes of `instances_SPLIT.json`, in the order of the file and without crowds.

    Args:
        data (str | Path): data-set folder.
        splits (Sequence[str]): which splits.

    Raises:
        FileNotFoundError: a split has no such file.
        ValueError: a picture's size or a box is not what it should be; file and id are named.
    """
    boxes: dict[int, Tensor] = {}
    sizes: dict[int, tuple[int, int]] = {}
    left_out = 0
    for split in splits:
        path = Path(data) / "annotations" / f"instances_{split}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, so split {split!r} has no boxes")
        coco = load_instances(path)
        for image_id, image in coco.imgs.items():
            size = image.get("width"), image.get("height")
            if not all(isinstance(side, int) and side > 0 for side in size):
                raise ValueError(
                    f"{path}: image {image_id!r}: width and height {size} found, "
                    "pixels expected, which its boxes need"
                )
            things = [one for one in coco.imgToAnns.get(image_id, []) if not one.get("iscrowd")]
            found = [_fractions(path, one, size) for one in things]
            usable = [box for box in found if box[0] < box[2] and box[1] < box[3]]
            boxes[image_id] = torch.tensor(usable, dtype=torch.float32).reshape(-1, 4)
            sizes[image_id] = size
            left_out += len(found) - len(usable)
    return GivenBoxes(boxes, sizes, left_out)


def _fractions(path: Path, annotation: Mapping[str, Any], size: tuple[int, int]) -> list[float]:
    """Left, top, right, bottom in 0..1 of an annotation's box; what leaves the picture is cut off.

    Raises:
        ValueError: it is not left, top, width, height in pixels.
    """
    box = annotation.get("bbox")
    try:
        left, top, width, height = map(float, box)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        left = math.nan
    if not math.isfinite(left) or not all(map(math.isfinite, (top, width, height))):
        raise ValueError(
            f"{path}: annotation {annotation['id']!r}: bbox {box!r} found, left, top, width and "
            "height in pixels expected"
        )
    corners = left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1]
    return [min(max(corner, 0.0), 1.0) for corner in corners]
