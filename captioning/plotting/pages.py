"""Pages of text and pictures, at places given in inches; captions before and after as one of them.

Where a chart has axes and ticks, a page has words on coloured ground, cells and small pictures.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from captioning.plotting.style import DPI, LINE, PICTURE_SCALE, WIDTH, set_alt_text

SOFT = "#6c6b7d"  # of remarks
UP, DOWN = "#2f6bb8", "#c8661a"  # blue and orange: told apart by colour-blind readers too
PALE_UP, PALE_DOWN = "#c3d9f6", "#f8d6b4"


def new_page(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure with one empty axes measured in inches from its upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    return figure, axes


def place_picture(axes: Axes, picture: Any, left: float, top: float, width: float) -> float:
    """Draw a picture on a page; returns where it ends below, in inches."""
    pixels = np.asarray(picture)
    bottom = top + width * pixels.shape[0] / pixels.shape[1]
    limits = axes.get_xlim(), axes.get_ylim()
    where = {"extent": (left, left + width, bottom, top), "aspect": "auto"}
    axes.imshow(pixels, interpolation="bicubic", **where)
    axes.set(xlim=limits[0], ylim=limits[1])
    return bottom


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Inches that a line takes at a font size in points, as it is stored in a notebook."""
    dots = DPI * PICTURE_SCALE
    font = FontProperties(family="DejaVu Sans", size=size)
    return RendererAgg(1, 1, dots).get_text_width_height_descent(text, font, False)[0] / dots


def flow(words: Sequence[str], width: float, size: float) -> list[list[int]]:
    """Break words into lines of at most `width` inches.

    Returns:
        list[list[int]]: for each line the positions of its words; a line has at least one.
    """
    lines: list[list[int]] = []
    for index, word in enumerate(words):
        line = " ".join([*(words[i] for i in lines[-1]), word]) if lines else ""
        if lines and text_width(line, size) <= width:
            lines[-1].append(index)
        else:
            lines.append([index])
    return lines


def write_words(
    axes: Axes,
    words: Sequence[str],
    place: tuple[float, float],
    width: float,
    size: float,
    marked: Mapping[int, str] | None = None,
) -> float:
    """Write words in lines from `place` on, some on coloured ground; returns where they end.

    Args:
        axes (Axes): of `new_page`.
        words (Sequence[str]): what is written.
        place (tuple[float, float]): left and top, inches.
        width (float): of a line, inches.
        size (float): of the font, points.
        marked (Mapping[int, str] | None): position of a word to the colour of its ground.
    """
    left, top = place
    line = size * LINE / 72
    for row in flow(words, width, size):
        for index in row:
            if marked and index in marked:
                before = " ".join([*(words[i] for i in row if i < index), ""])
                x = text_width(before, size) if before.strip() else 0.0
                box = (
                    (left + x - 0.02, top + 0.03 * line),
                    text_width(words[index].rstrip(".,;:!?"), size) + 0.04,
                )
                axes.add_patch(Rectangle(*box, 0.94 * line, color=marked[index], linewidth=0))
        text = " ".join(words[index] for index in row)
        axes.text(left, top + 0.5 * line + 0.36 * size / 72, text, fontsize=size)
        top += line
    return top


def check_equal(**given: Sequence[Any]) -> None:
    """Refuse lists of different lengths, and empty ones.

    Raises:
        ValueError: the names and how many each has.
    """
    counts = [len(values) for values in given.values()]
    if len(set(counts)) != 1 or not counts[0]:
        received = ", ".join(map(str, counts))
        raise ValueError(f"{', '.join(given)}: {received} received, equally many expected")


# ------------------------------------------------------------------------------------ before, after


def changed_words(before: str, after: str) -> tuple[set[int], set[int]]:
    """Positions of the words of each caption that have no counterpart in the other.

    Case and punctuation do not count.
    """
    one, two = ([word.strip(".,;:!?").lower() for word in text.split()] for text in (before, after))
    same = difflib.SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks()
    kept = [{block[side] + i for block in same for i in range(block.size)} for side in (0, 1)]
    return set(range(len(one))) - kept[0], set(range(len(two))) - kept[1]


def before_after(
    pictures: Sequence[Any],
    before: Sequence[str],
    after: Sequence[str],
    scores: Sequence[tuple[float, float]] | None = None,
    columns: int = 2,
) -> Figure:
    """Captions of some pictures before and after, changed words on coloured ground.

    Args:
        pictures (Sequence): PIL images or arrays (H, W, 3).
        before (Sequence[str]): a caption for each.
        after (Sequence[str]): another one for each.
        scores (Sequence[tuple[float, float]] | None): CIDEr of both captions of each picture.
        columns (int): pictures in a row.

    Returns:
        Figure: a page of pictures with two captions beside each.

    Raises:
        ValueError: there are no pictures, or not two captions for each.
    """
    check_equal(pictures=pictures, before=before, after=after)
    gap, thumb, size = 0.3, 1.3, 9.0
    cell = (WIDTH - gap * (columns - 1)) / columns
    width = cell - thumb - 0.15
    texts = list(zip(before, after, strict=True))
    needed = [
        max(thumb * shape[0] / shape[1], _pair_height(pair, width, size))
        for shape, pair in zip((np.asarray(p).shape for p in pictures), texts, strict=True)
    ]
    rows = range(0, len(pictures), columns)
    heights = [max(needed[row : row + columns]) + 0.2 for row in rows]
    figure, axes = new_page(sum(heights) - 0.2)
    spoken = []
    for index, (picture, pair) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (cell + gap), sum(heights[:row])
        place_picture(axes, picture, left, top, thumb)
        given = scores[index] if scores else None
        _write_pair(axes, pair, given, (left + thumb + 0.15, top), width, size)
        told = "" if given is None else f" (CIDEr {given[0]:.2f}, then {given[1]:.2f})"
        spoken.append(f"before: {pair[0]} after: {pair[1]}{told}")
    return set_alt_text(figure, f"{len(pictures)} pictures; " + "; ".join(spoken))


HEADING, BETWEEN = 0.19, 0.1  # inches: the line above a caption, the space below it


def _pair_height(texts: tuple[str, str], width: float, size: float) -> float:
    lines = sum(len(flow(text.split(), width, size)) for text in texts)
    return 2 * HEADING + BETWEEN + lines * size * LINE / 72


def _write_pair(
    axes: Axes,
    texts: tuple[str, str],
    scores: tuple[float, float] | None,
    place: tuple[float, float],
    width: float,
    size: float,
) -> None:
    """Both captions of a picture, one below the other."""
    left, top = place
    changed = changed_words(*texts)
    for side, (name, colour) in enumerate((("before", PALE_DOWN), ("after", PALE_UP))):
        told = "" if scores is None else f" · CIDEr {scores[side]:.2f}"
        axes.text(left, top + 0.12, name + told, fontsize=7.5, color=SOFT)
        marks = dict.fromkeys(changed[side], colour)
        end = write_words(axes, texts[side].split(), (left, top + HEADING), width, size, marks)
        top = end + BETWEEN
