"""Regions of a picture: boxes, the grid cells they cover, and the weight each gets.

A box that is the whole picture is drawn as its frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw
from torch import Tensor

from captioning.plotting.pages import (
    SOFT,
    check_equal,
    new_page,
    place_picture,
    text_width,
)
from captioning.plotting.style import (
    CYCLE,
    LINE,
    PALETTE,
    WIDTH,
    picture_grid,
    set_alt_text,
)
from captioning.plotting.transformers import MORE, draw_cells, name_columns, room_above


def boxes_figure(
    pictures: Sequence[Any], boxes: Sequence[Tensor], names: Sequence[Sequence[str]]
) -> Figure:
    """Pictures with their boxes, and below each the names in the colours of the boxes.

    Args:
        pictures (Sequence): PIL images or arrays.
        boxes (Sequence[Tensor]): (P, 4) of each in 0..1; the last may be the whole picture.
        names (Sequence[Sequence[str]]): P names of each.

    Returns:
        Figure: pictures in one row.

    Raises:
        ValueError: not one list of boxes and names for each picture.
    """
    check_equal(pictures=pictures, boxes=boxes, names=names)
    gap, width = 0.16, 0.75 * WIDTH
    side = (width - gap * (len(pictures) - 1)) / len(pictures)
    line = 9 * LINE / 72
    high = side * max(p.shape[0] / p.shape[1] for p in map(np.asarray, pictures))
    figure, axes = new_page(high + 0.1 + line * max(map(len, names)), width)
    for index, picture in enumerate(pictures):
        left = index * (side + gap)
        bottom = place_picture(axes, picture, left, 0.0, side)
        for place, (box, name) in enumerate(zip(boxes[index], names[index], strict=True)):
            colour = CYCLE[place % len(CYCLE)]
            _outline(axes, box, (left, 0.0, side, bottom), colour)
            axes.text(left, bottom + 0.2 + place * line, f"■ {name}", fontsize=9, color=colour)
    spoken = "; ".join(", ".join(some) for some in names)
    return set_alt_text(figure, f"{len(pictures)} pictures with boxes: {spoken}")


def _outline(
    axes: Axes, box: Tensor, frame: tuple[float, float, float, float], colour: str
) -> None:
    """A box (4,) drawn on the picture at left, top, width, height inches of a page."""
    left, top, right, bottom = box.tolist()
    inset = 0.02 if right - left > 0.999 and bottom - top > 0.999 else 0.0
    place = (frame[0] + left * frame[2] + inset, frame[1] + top * frame[3] + inset)
    size = ((right - left) * frame[2] - 2 * inset, (bottom - top) * frame[3] - 2 * inset)
    for width, ink in ((3.4, "white"), (2.0, colour)):  # seen on any ground
        axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=ink, linewidth=width))


def areas_figure(picture: Any, box: Tensor, areas: Tensor, name: str = "the box") -> Figure:
    """A box on the picture's grid, the share of each cell it covers, and the sums.

    Args:
        picture: PIL image or array.
        box (Tensor): (4,) in 0..1.
        areas (Tensor): (g, g) covered share of each cell, rows first.
        name (str): what is in the box.

    Returns:
        Figure: the picture under the grid; the shares; row sums beside them, column sums below.
    """
    grid, side, gap = len(areas), 2.2, 0.55
    cell, top, left = side / grid, 0.34, 0.0
    figure, axes = new_page(top + side + 1.12, width=2 * side + gap + 1.3)
    bottom = place_picture(axes, picture, left, top, side)
    for line in range(grid + 1):
        style = {"color": "white", "linewidth": 0.6, "alpha": 0.7}
        axes.plot((left, left + side), (top + line * cell,) * 2, **style)
        axes.plot((left + line * cell,) * 2, (top, top + side), **style)
    _outline(axes, box, (left, top, side, bottom - top), CYCLE[0])
    axes.text(0, 0.2, f"{name} on a grid of {grid} × {grid}", fontsize=9.5, fontweight="bold")
    place = (side + gap, top)
    draw_cells(axes, [[MORE(share) for share in row] for row in areas.tolist()], place, cell)
    axes.text(place[0], 0.2, "covered share of each cell", fontsize=9.5, fontweight="bold")
    rows, columns = areas.sum(1).tolist(), areas.sum(0).tolist()
    scale = 0.85 / max(1e-9, *rows, *columns)
    for index in range(grid):
        down, across = top + (index + 0.12) * cell, place[0] + (index + 0.12) * cell
        wide, high = rows[index] * scale, columns[index] * scale
        style = {"facecolor": PALETTE["orange"], "linewidth": 0}
        axes.add_patch(Rectangle((place[0] + side + 0.1, down), wide, 0.76 * cell, **style))
        axes.add_patch(Rectangle((across, top + side + 0.1), 0.76 * cell, high, **style))
    axes.text(place[0] + side + 0.1, 0.2, "row sums", fontsize=9, color=SOFT)
    axes.text(
        place[0] - 0.08,
        top + side + 0.24,
        "column\nsums",
        ha="right",
        va="center",
        fontsize=9,
        color=SOFT,
    )
    covered = sum(value > 0 for value in areas.flatten().tolist())
    spoken = (
        f"{name}: a box that touches {covered} of {grid * grid} cells, {float(areas.sum()):.1f}"
    )
    return set_alt_text(figure, f"{spoken} cells in all")


# ------------------------------------------------------------------------------------------ weights


def region_overlay(picture: Image.Image, weights: Tensor, boxes: Tensor, side: int = 360) -> Image:
    """A picture whose regions glow as much as they weigh against the heaviest; the rest is faded.

    Args:
        picture (Image.Image): RGB.
        weights (Tensor): (P,) attention weights.
        boxes (Tensor): (P, 4) in 0..1.
        side (int): pixels of the result's longer side.

    Returns:
        Image: RGB; the heaviest region has its own colours and a frame.
    """
    scale = side / max(picture.size)
    large = picture.convert("RGB").resize(
        tuple(round(length * scale) for length in picture.size), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(large, dtype=float) / 255
    light = np.zeros(pixels.shape[:2])
    places = [_pixels(box, large.size) for box in boxes]
    shares = (weights / weights.max().clamp(min=1e-9)).tolist()
    for share, (left, top, right, bottom) in zip(shares, places, strict=True):
        part = light[top:bottom, left:right]
        np.maximum(part, share, out=part)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    faded = 0.15 * pixels + 0.85 * (0.25 * grey + 0.65)[..., None]
    shown = faded + light[..., None] * (pixels - faded)
    result = Image.fromarray((255 * shown).round().clip(0, 255).astype(np.uint8))
    best = int(weights.argmax())
    left, top, right, bottom = places[best]
    edge = (left, top, right - 1, bottom - 1)
    ImageDraw.Draw(result).rectangle(edge, outline=CYCLE[best % len(CYCLE)], width=side // 70)
    return result


def _pixels(box: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in pixels, at least one wide and high."""
    left, top, right, bottom = box.tolist()
    x, y = min(round(left * size[0]), size[0] - 1), min(round(top * size[1]), size[1] - 1)
    return x, y, max(round(right * size[0]), x + 1), max(round(bottom * size[1]), y + 1)


def words_figure(
    picture: Image.Image,
    words: Sequence[str],
    weights: Tensor,
    boxes: Tensor,
    columns: int = 6,
) -> Figure:
    """One small picture for each word, its regions as bright as they weigh, below it the most.

    Args:
        picture (Image.Image): RGB.
        words (Sequence[str]): T words.
        weights (Tensor): (T, P).
        boxes (Tensor): (P, 4) in 0..1.
        columns (int): pictures in a row.
    """
    overlays = [region_overlay(picture, row, boxes) for row in weights[: len(words)]]
    most = weights.amax(-1).tolist()
    below = [f"{word} · {100 * weight:.0f} %" for word, weight in zip(words, most, strict=False)]
    figure = picture_grid(overlays, below, columns=columns, width=0.85 * WIDTH, size=9.5)
    best = weights.argmax(-1).tolist()
    spoken = ", ".join(f"{word}: region {b + 1}" for word, b in zip(words, best, strict=False))
    return set_alt_text(figure, f"The region that weighs most for each word. {spoken}")


def word_heads(
    picture: Image.Image,
    words: Sequence[str],
    weights: Tensor,
    boxes: Tensor,
    names: Sequence[str],
    word: int = 1,
) -> Figure:
    """One word: the picture as its heads see it together, and each head's weights.

    Args:
        picture (Image.Image): RGB.
        words (Sequence[str]): T words.
        weights (Tensor): (h, T, P).
        boxes (Tensor): (P, 4) in 0..1.
        names (Sequence[str]): of P regions.
        word (int): number of the word from 1; beyond the last one the last is taken.
    """
    index = min(max(word, 1), len(words)) - 1
    own = weights[:, index]  # (h, P)
    size, side = 0.42, 2.5
    margin = max(text_width(f"■ {name}", 9) for name in names) + 0.2
    top = 0.66 + room_above(["1"], size)
    left = side + 0.5 + margin
    height = max(top + size * len(names), 0.34 + side) + 0.05
    figure, axes = new_page(height, width=left + size * len(own) + 0.1)
    said = [*words[:index], words[index].upper(), *words[index + 1 :]]
    axes.text(0, 0.19, " ".join(said), fontsize=10)
    place_picture(axes, region_overlay(picture, own.mean(0), boxes), 0.0, 0.34, side)
    cells = [[MORE(v) for v in row] for row in own.T.tolist()]
    texts = [[f"{100 * v:.0f}" for v in row] for row in own.T.tolist()]
    draw_cells(axes, cells, (left, top), size, texts, 7.5)
    name_columns(axes, [str(head + 1) for head in range(len(own))], (left, top), size)
    axes.text(left, top - 0.32, "weight in %, head", fontsize=8.5, color=SOFT)
    for place, name in enumerate(names):
        style = {"ha": "right", "va": "center_baseline", "fontsize": 9}
        colour = CYCLE[place % len(CYCLE)]
        axes.text(left - 0.1, top + (place + 0.5) * size, f"{name} ■", color=colour, **style)
    best = names[int(own.mean(0).argmax())]
    return set_alt_text(figure, f"For {words[index]} the heads together weigh {best} most")
