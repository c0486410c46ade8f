"""Where the decoder looked for a word, as a heat map over the whole picture.

The encoder sees the *transformed* picture: with `fit: crop` that is the middle of the picture only,
so its grid has to be put back where it came from before it is laid over what the reader sees.

Source: K. Xu et al., "Show, Attend and Tell", ICML 2015, section 5.4 (weights upsampled and
smoothed with a Gaussian). Departures: any set of boxes will do, not only a square grid.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from captioning.config import TransformConfig
from model import grid_boxes

CANVAS = 96  # side of the heat map before it is enlarged; far finer than any encoder's grid


class Frame(NamedTuple):
    """A rectangle in 0..1 of a picture; the whole picture by default."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


def seen_frame(width: int, height: int, transform: TransformConfig) -> Frame:
    """The part of a picture that reaches the encoder.

    Args:
        width (int): of the picture in pixels.
        height (int): of the picture in pixels.
        transform (TransformConfig): how the picture is prepared (`data_loader.eval_transform`).

    Returns:
        Frame: the whole picture for "stretch" and "native", the middle square for "crop" (beyond
            0..1 where the crop is larger than the resized picture and its surroundings are black).
    """
    if transform.fit != "crop":
        return Frame()
    size = transform.image_size
    shorter = transform.resize_size or round(size * 256 / 224)
    longer = int(shorter * max(width, height) / min(width, height))
    wide, high = (longer, shorter) if width >= height else (shorter, longer)
    left, top = _crop_start(wide, size), _crop_start(high, size)
    return Frame(left / wide, top / high, (left + size) / wide, (top + size) / high)


def _crop_start(length: int, size: int) -> int:
    """First pixel of torchvision's centre crop (negative where it pads)."""
    return round((length - size) / 2) if length >= size else -((size - length) // 2)


def heat_map(weights: Tensor, boxes: Tensor | None = None, size: int = CANVAS) -> Tensor:
    """A smooth map of attention weights, 1 where the decoder looked most.

    Args:
        weights (Tensor): (P,) attention weights, at least one above zero.
        boxes (Tensor | None): (P, 4) left, top, right, bottom of the regions in 0..1; None for a
            square grid, row by row.
        size (int): side of the map in pixels.

    Returns:
        Tensor: (size, size) in 0..1, float32 on the CPU.

    Raises:
        ValueError: the shapes do not fit together, or the weights are not finite and positive.
    """
    weights = weights.detach().float().cpu()
    side = math.isqrt(weights.numel())
    if weights.ndim != 1 or (boxes is None and side * side != weights.numel()):
        raise ValueError(f"weights: shape {tuple(weights.shape)} received, (P,) of a square grid")
    boxes = grid_boxes(side, side) if boxes is None else boxes.detach().float().cpu()
    if boxes.shape != (len(weights), 4):
        raise ValueError(f"boxes: {tuple(boxes.shape)} received, ({len(weights)}, 4) expected")
    if not bool(torch.isfinite(weights).all()) or float(weights.max()) <= 0:
        raise ValueError("weights: finite numbers expected, at least one of them above zero")
    heat = torch.zeros(size, size)
    for weight, (left, top, right, bottom) in zip(weights, (boxes * size).tolist(), strict=True):
        rows = slice(
            math.floor(top + 0.5), max(math.floor(bottom + 0.5), math.floor(top + 0.5) + 1)
        )
        columns = slice(
            math.floor(left + 0.5), max(math.floor(right + 0.5), math.floor(left + 0.5) + 1)
        )
        heat[rows, columns] = heat[rows, columns].clamp(min=float(weight))
    blur = 0.45 * size * float((boxes[:, 2:] - boxes[:, :2]).mean())  # about half a cell
    kernel = min(2 * math.ceil(2 * blur) + 1, 2 * size - 1)
    heat = F.gaussian_blur(heat[None], [kernel, kernel], [max(blur, 0.1)] * 2)[0]
    return heat / heat.max()


def attention_overlay(
    picture: Image.Image,
    weights: Tensor,
    boxes: Tensor | None = None,
    frame: Frame = Frame(),  # noqa: B008 - immutable
    strength: float = 0.72,
    colours: str = "inferno",
) -> Image.Image:
    """A picture with the attention of one word over it.

    Where the decoder did not look the drawing fades; where it looked it glows. A thin line shows
    what the encoder saw when that is not the whole picture.

    Args:
        picture (Image.Image): the RGB picture as the reader knows it.
        weights (Tensor): (P,) attention weights of the word.
        boxes (Tensor | None): (P, 4) regions in 0..1 of the transformed picture
            (`VisualFeatures.boxes`); None for a square grid.
        frame (Frame): the part of the picture that the encoder saw (`seen_frame`).
        strength (float): 0 hides the heat map, 1 hides the picture under its peak.
        colours (str): a colour map of matplotlib.

    Returns:
        Image.Image: a new RGB picture of the same size.

    Raises:
        ValueError: see `heat_map`.
    """
    width, height = picture.size
    left, right = round(frame.left * width), round(frame.right * width)
    top, bottom = round(frame.top * height), round(frame.bottom * height)
    inside = Image.fromarray(heat_map(weights, boxes).numpy())
    inside = inside.resize((max(right - left, 1), max(bottom - top, 1)), Image.Resampling.BICUBIC)
    whole = Image.new("F", picture.size, 0.0)
    whole.paste(inside, (left, top))
    heat = torch.from_numpy(_array(whole)).clamp(0, 1).unsqueeze(-1)  # (H, W, 1)
    original = torch.from_numpy(_array(picture.convert("RGB"))).float() / 255  # (H, W, 3)
    grey = (original @ torch.tensor([0.299, 0.587, 0.114])).unsqueeze(-1)
    faded = 0.45 * original + 0.55 * (0.35 * grey + 0.16)
    colour = torch.from_numpy(colormaps[colours](0.2 + 0.75 * heat[..., 0].numpy())[..., :3])
    alpha = strength * heat**1.4  # a broad, weak glow leaves the drawing readable
    mixed = (1 - heat) * faded + heat * original
    result = (1 - alpha) * mixed + alpha * colour.float()
    overlay = Image.fromarray((result * 255).round().clamp(0, 255).byte().numpy())
    if frame != Frame():
        edge = (left, top, right - 1, bottom - 1)
        ImageDraw.Draw(overlay).rectangle(edge, outline="white", width=max(1, width // 300))
    return overlay


def _array(picture: Image.Image) -> np.ndarray:
    """A writable array of a picture (what `torch.from_numpy` asks for)."""
    return np.array(picture)
