"""Pictures of lesson 7: what CLIP finds alike, what rewards pay for, captions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captioning.plotting.pages import SOFT, check_equal, flow, new_page, place_picture, write_words
from captioning.plotting.style import PALETTE, WIDTH, new_figure, set_alt_text, wrap

CRITERIA = {"background": PALETTE["green"], "object": PALETTE["blue"], "relation": PALETTE["orange"]}


def similarity_figure(
    pictures: Sequence[Any], captions: Sequence[str], similarity: Tensor
) -> Figure:
    """Pictures across, captions down, and how alike each pair is; the pairs lie on the diagonal.

    Args:
        pictures (Sequence): N pictures.
        captions (Sequence[str]): N captions, in the order of their pictures.
        similarity (Tensor): (N, N), row = caption, column = picture; cosines.

    Raises:
        ValueError: the numbers do not agree.
    """
    check_equal(pictures=pictures, captions=captions, similarity=similarity)
    number, values = len(pictures), similarity.cpu().numpy()
    left, cell = 3.1, (WIDTH - 3.2) / number
    height = cell * number + cell + 0.45
    figure, axes = new_page(height)
    for column, picture in enumerate(pictures):
        place_picture(axes, picture, left + column * cell + 0.03, height - 0.4, cell - 0.06)
    low, high = float(values.min()), float(values.max())
    for row, caption in enumerate(captions):
        top = height - 0.45 - cell * (row + 1)
        axes.text(
            left - 0.08,
            top - cell / 2,
            "\n".join(wrap(caption, left - 0.25, 8.5)[:3]),
            ha="right",
            va="center",
            fontsize=8.5,
        )
        for column in range(number):
            share = (values[row, column] - low) / max(high - low, 1e-9)
            _draw_pair(axes, (left + column * cell, top - cell), cell, share, values[row, column])
            if row == column:
                best = values[row].argmax() == row
                _frame(axes, (left + column * cell, top - cell), cell, best)
    axes.set_title("How alike CLIP finds captions and pictures (cosine)", loc="left")
    found = sum(int(values[n].argmax() == n) for n in range(number))
    return set_alt_text(
        figure,
        f"Similarities of {number} captions and {number} pictures; {found} captions are most alike "
        "to their own picture.",
    )


def _draw_pair(
    axes: Axes, corner: tuple[float, float], cell: float, share: float, value: float
) -> None:
    from matplotlib.patches import Rectangle

    colour = (*_rgb(PALETTE["blue"]), 0.08 + 0.87 * share)
    axes.add_patch(Rectangle(corner, cell - 0.03, cell - 0.03, facecolor=colour, edgecolor="none"))
    middle = corner[0] + cell / 2, corner[1] + cell / 2
    axes.text(
        *middle,
        f"{value:.2f}".replace("-", "−"),
        ha="center",
        va="center",
        fontsize=8.5,
        color="white" if share > 0.55 else SOFT,
    )


def _frame(axes: Axes, corner: tuple[float, float], cell: float, best: bool) -> None:
    from matplotlib.patches import Rectangle

    colour = PALETTE["green"] if best else PALETTE["red"]
    size = cell - 0.03
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, linewidth=2))


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
