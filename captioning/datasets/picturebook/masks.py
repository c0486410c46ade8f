"""From visible pixels to boxes, areas and polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from contourpy import FillType, contour_generator
from PIL import Image, ImageChops

from captioning.datasets.picturebook.scene import Instance

TOLERANCE = 0.45  # pixels a simplified outline may be off
MIN_HOLE = 4.0  # smaller holes are left out of the outline, in square pixels
MIN_PART = 3.0  # so are smaller parts of what is seen


def visible_masks(
    alphas: Sequence[tuple[Image.Image, tuple[int, int]]], size: int, factor: int
) -> list[tuple[np.ndarray, float]]:
    """What can be seen of each thing, the later ones lying over the earlier ones.

    Args:
        alphas (sequence): transparency ("L") and upper left corner of each, in the large picture.
        size (int): width and height of the final picture.
        factor (int): how many times larger the large picture is.

    Returns:
        list: for each thing the covered share of every final pixel, (size, size) uint8 from 0 to
            255, and the visible share of the thing, from 0 to 1.
    """
    taken = Image.new("L", (size * factor, size * factor), 0)
    results = []
    for alpha, (x, y) in reversed(alphas):
        box = (x, y, x + alpha.width, y + alpha.height)
        before = taken.crop(box)
        visible = ImageChops.multiply(alpha, ImageChops.invert(before))
        taken.paste(ImageChops.lighter(before, alpha), box)
        x0, y0 = max(0, x // factor), max(0, y // factor)
        x1 = min(size, -(-(x + alpha.width) // factor))
        y1 = min(size, -(-(y + alpha.height) // factor))
        aligned = Image.new("L", ((x1 - x0) * factor, (y1 - y0) * factor), 0)
        aligned.paste(visible, (x - x0 * factor, y - y0 * factor))
        mask = np.zeros((size, size), np.uint8)
        mask[y0:y1, x0:x1] = np.asarray(aligned.reduce(factor))
        whole = float(np.asarray(alpha, np.float32).sum())
        seen = float(np.asarray(visible, np.float32).sum())
        results.append((mask, seen / max(1.0, whole)))
    return results[::-1]


def to_instance(entity_id: int, mask: np.ndarray) -> Instance:
    """The record of one thing.

    Args:
        entity_id (int): which entity it is a copy of.
        mask (ndarray): (size, size) uint8, the visible share of every pixel from 0 to 255.

    Returns:
        Instance: box, area and polygons of the pixels that are at least half covered.
    """
    inside = mask >= 128
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return Instance(entity_id, (0.0, 0.0, 0.0, 0.0), 0.0, [])
    x, y = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
    polygons = outline(mask, (x, y, width, height))
    box = (float(x), float(y), float(width), float(height))
    return Instance(entity_id, box, float(inside.sum()), polygons)


def outline(mask: np.ndarray, box: tuple[int, int, int, int]) -> list[list[float]]:
    """Polygons [x1, y1, x2, y2, ...] around a mask; a hole is joined to its outline by a seam.

    COCO's polygons cannot have holes, but a seam that is walked there and back again encloses
    nothing, so what is drawn from the polygon has the hole.
    """
    x, y, width, height = box
    part = np.pad(mask[y : y + height, x : x + width].astype(np.float32), 1)
    columns = np.arange(width + 2) + x - 0.5
    rows = np.arange(height + 2) + y - 0.5
    generator = contour_generator(columns, rows, part, fill_type=FillType.OuterOffset)
    shapes, offsets = generator.filled(127.5, 256.0)
    polygons = []
    for points, starts in zip(shapes, offsets, strict=True):
        rings = [points[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
        if abs(_area(rings[0])) < MIN_PART and len(shapes) > 1:
            continue
        outer = _simplify(rings[0])
        for hole in rings[1:]:
            if abs(_area(hole)) >= MIN_HOLE:
                outer = _join(outer, _simplify(hole))
        if len(outer) >= 4:
            low, high = (x, y), (x + width, y + height)
            ring = np.clip(outer[:-1], low, high).round(1)
            polygons.append(ring.ravel().tolist())
    return polygons


def _area(ring: np.ndarray) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def _simplify(ring: np.ndarray) -> np.ndarray:
    """Ramer, Douglas and Peucker's line simplification of a closed ring (first point = last)."""
    keep = np.zeros(len(ring), bool)
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    keep[[0, far, -1]] = True
    stack = [(0, far), (far, len(ring) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        start, along = ring[first], ring[last] - ring[first]
        between = ring[first + 1 : last] - start
        length = float(np.hypot(*along))
        if length == 0:
            distance = np.hypot(between[:, 0], between[:, 1])
        else:
            distance = np.abs(between[:, 0] * along[1] - between[:, 1] * along[0]) / length
        worst = int(np.argmax(distance))
        if distance[worst] > TOLERANCE:
            middle = first + 1 + worst
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    return ring[keep]


def _join(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Join a hole to an outline by a seam between their nearest points."""
    distances = ((outer[:-1, None] - hole[None, :-1]) ** 2).sum(2)
    i, j = np.unravel_index(int(np.argmin(distances)), distances.shape)
    around = np.concatenate([hole[j:-1], hole[: j + 1]])
    return np.concatenate([outer[: i + 1], around, outer[i:]])
