"""What looks at pictures for a feature store: a CNN's grid, regions of boxes, a detector.

`features/extract.py` opens the pictures, hands them to a `Looker` and keeps what it found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from captioning.features.pictures import Picture
from captioning.features.writer import BOX_BYTES, SCORE_BYTES
from model import VisualFeatures


class Seen(NamedTuple):
    """A picture as a worker hands it over; `image` is a message when it could not be read."""

    picture: Picture
    image: Tensor | str
    size: tuple[int, int] = (0, 0)
    checksum: int = -1


class Found(NamedTuple):
    """What was found in one picture, on the CPU; P may differ from picture to picture."""

    regions: Tensor  # (P, F)
    boxes: Tensor | None = None  # (P, 4) left, top, right, bottom in 0..1
    scores: Tensor | None = None  # (P,)


@dataclass(frozen=True)
class Looker:
    """What looks at pictures, and what a store must know of it.

    Args:
        look (Callable): opened pictures of a batch -> what was found in each.
        transform (Callable): picture -> its `Seen.image`.
        signature (Mapping): what changes the numbers, see `signature.make_signature`.
        feature_dim (int): F.
        num_regions (tuple[float, float]): P of a picture on average: at least, at most.
        has_boxes, has_scores (bool): what is found beside the regions.
        one_by_one (bool): a batch is one picture.
        max_side (int): larger pictures are shrunk to this longer side in pixels; 0: any.
        plan (Mapping): what else is meant; an unfinished store of another plan is refused.
    """

    look: Callable[[Sequence[Seen]], list[Found]]
    transform: Callable[[Image.Image], Tensor]
    signature: Mapping[str, Any]
    feature_dim: int
    num_regions: tuple[float, float]
    has_boxes: bool = True
    has_scores: bool = False
    one_by_one: bool = False
    max_side: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)

    def num_bytes(self, num_pictures: int, half: bool) -> tuple[int, int]:
        """Of a store: at least, at most."""
        one = self.feature_dim * (2 if half else 4)
        one += BOX_BYTES * self.has_boxes + SCORE_BYTES * self.has_scores
        low, high = self.num_regions
        return round(num_pictures * low) * one, round(num_pictures * high) * one


@contextlib.contextmanager
def looking(device: torch.device, precision: str) -> Iterator[None]:
    """No gradients, and half precision where it is asked for (bf16) and safe."""
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), half:
        yield


def split_features(features: VisualFeatures) -> list[Found]:
    """What an encoder says of B pictures, one by one and without padding."""
    found = []
    for row, regions in enumerate(features.regions.float().cpu()):
        boxes = None if features.boxes is None else features.boxes[row].float().cpu()
        if features.region_mask is not None:
            mask = features.region_mask[row].cpu()
            regions, boxes = regions[mask], None if boxes is None else boxes[mask]
        found.append(Found(regions, boxes))
    return found
