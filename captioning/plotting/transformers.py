"""A transformer in pictures: attention by hand, who may see whom, what the cache saves.

Matrices are drawn as cells on a page, one row a word; darker is more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from captioning.plotting.pages import SOFT, UP, check_equal, new_page, text_width
from captioning.plotting.style import PALETTE, WIDTH, new_figure, set_alt_text

MORE = LinearSegmentedColormap.from_list("more", ["#f4f6fb", "#9dbde6", "#2f5f9f"])
BOTH = LinearSegmentedColormap.from_list(
    "both", ["#e8893a", "#f8d6b4", "#f4f6fb", "#9dbde6", "#2f5f9f"], N=257
)  # odd: zero has a colour of its own
SEEN, HIDDEN = "#9dbde6", "#efeff4"
NEW, KEPT, NOT_YET = UP, "#c3d9f6", "#f3f3f7"  # positions of a search


class Mask(NamedTuple):
    """Who sees whom: `visible` (Q, P) bool, True = counts; names of both sides; a line below."""

    visible: Tensor
    rows: Sequence[str]
    columns: Sequence[str]
    note: str = ""


def draw_cells(
    axes: Axes,
    colours: Sequence[Sequence[Any]],
    place: tuple[float, float],
    size: float,
    texts: Sequence[Sequence[str]] | None = None,
    font: float = 8.0,
) -> None:
    """A matrix of coloured squares on a page.

    Args:
        axes (Axes): of `new_page`.
        colours (Sequence): rows of colours.
        place (tuple[float, float]): left and top, inches.
        size (float): of a square, inches.
        texts (Sequence | None): what is written in each.
        font (float): points.
    """
    left, top = place
    for y, row in enumerate(colours):
        for x, colour in enumerate(row):
            corner = (left + x * size, top + y * size)
            axes.add_patch(Rectangle(corner, size, size, facecolor=colour, edgecolor="white", lw=1))
            if texts is not None:
                ink = "white" if np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) < 0.55 else "#2c2a3a"
                middle = (corner[0] + size / 2, corner[1] + size / 2)
                style = {"ha": "center", "va": "center_baseline", "fontsize": font}
                axes.text(*middle, texts[y][x], color=ink, **style)


def name_rows(
    axes: Axes, names: Sequence[str], place: tuple[float, float], size: float, font: float = 8.5
) -> None:
    """Names to the left of the rows of `draw_cells`."""
    for y, name in enumerate(names):
        style = {"ha": "right", "va": "center_baseline", "fontsize": font}
        axes.text(place[0] - 0.08, place[1] + (y + 0.5) * size, name, **style)


def room_above(names: Sequence[str], size: float, font: float = 8.5) -> float:
    """Inches that `name_columns` takes; upright names take their length."""
    widest = max((text_width(name, font) for name in names), default=0.0)
    return 0.1 + (widest if widest > 0.85 * size else font / 72)


def name_columns(
    axes: Axes, names: Sequence[str], place: tuple[float, float], size: float, font: float = 8.5
) -> None:
    """Names above the columns of `draw_cells`, upright where they are too wide."""
    wide = room_above(names, size, font) > 0.1 + font / 72
    style = {"rotation": 90, "va": "bottom"} if wide else {"va": "baseline"}
    for x, name in enumerate(names):
        where = (place[0] + (x + 0.5) * size, place[1] - 0.07)
        axes.text(*where, name, ha="center", fontsize=font, **style)


def write_title(axes: Axes, title: str, place: tuple[float, float]) -> None:
    """A title; what follows after a line break stands below it in grey."""
    name, _, note = title.partition("\n")
    axes.text(*place, name, fontsize=9.5, fontweight="bold")
    if note:
        axes.text(place[0], place[1] + 0.2, note, fontsize=8.5, color=SOFT)


# ---------------------------------------------------------------------------------------- attention


def attention_by_hand(
    words: Sequence[str], steps: Mapping[str, Tensor], between: Sequence[str] = ()
) -> Figure:
    """The matrices of one attention side by side, a row a word.

    Args:
        words (Sequence[str]): T words.
        steps (Mapping[str, Tensor]): title (and, after a line break, a note) to (T, columns), in
            the order of computation.
        between (Sequence[str]): titles of those with a column for each word.

    Returns:
        Figure: one block of cells a matrix, its numbers in them.
    """
    gap, edge = 0.34, 0.08
    margin = max(text_width(word, 8.5) for word in words) + 0.2
    columns = sum(matrix.shape[1] for matrix in steps.values())
    size = min(0.56, (WIDTH - margin - edge - gap * (len(steps) - 1)) / columns)
    noted = 0.2 if any("\n" in title for title in steps) else 0.0
    top = 0.32 + noted + room_above(words if between else ["1"], size)
    figure, axes = new_page(top + size * len(words) + 0.1)
    left = margin
    name_rows(axes, words, (left, top), size)
    for title, matrix in steps.items():
        draw_numbers(axes, matrix, (left, top), size)
        write_title(axes, title, (left, 0.22))
        names = words if title in between else [str(i + 1) for i in range(matrix.shape[1])]
        name_columns(axes, names, (left, top), size)
        left += size * matrix.shape[1] + gap
    spoken = "; ".join(
        f"{title.partition(chr(10))[0]} {np.round(matrix.tolist(), 2).tolist()}"
        for title, matrix in steps.items()
    )
    return set_alt_text(figure, f"Attention among the words {' '.join(words)}: {spoken}")


def draw_numbers(axes: Axes, matrix: Tensor, place: tuple[float, float], size: float) -> None:
    """A matrix as cells with its numbers: blue above zero, orange below."""
    numbers, scale = matrix.tolist(), max(1e-9, float(matrix.abs().max()))
    cells = [[BOTH(0.5 + 0.5 * v / scale) for v in row] for row in numbers]
    texts = [[f"{v:.2f}".replace("-", "−") for v in row] for row in numbers]
    draw_cells(axes, cells, place, size, texts)


def masks_figure(masks: Mapping[str, Mask]) -> Figure:
    """Masks side by side: blue cells may be seen, grey ones count nothing.

    Args:
        masks (Mapping[str, Mask]): title to mask.

    Returns:
        Figure: one block of cells a mask.
    """
    margins = [max(text_width(name, 8.5) for name in mask.rows) + 0.2 for mask in masks.values()]
    columns = sum(len(mask.columns) for mask in masks.values())
    gap = 0.42
    size = min(0.34, (WIDTH - 0.06 - sum(margins) - gap * (len(masks) - 1)) / columns)
    top = 0.36 + max(room_above(mask.columns, size) for mask in masks.values())
    rows = max(len(mask.rows) for mask in masks.values())
    figure, axes = new_page(top + rows * size + 0.34)
    left, spoken = 0.02, []
    for (title, mask), margin in zip(masks.items(), margins, strict=True):
        place = (left + margin, top)
        cells = [[SEEN if seen else HIDDEN for seen in row] for row in mask.visible.tolist()]
        texts = [["" if seen else "·" for seen in row] for row in mask.visible.tolist()]
        draw_cells(axes, cells, place, size, texts)
        name_rows(axes, mask.rows, place, size)
        name_columns(axes, mask.columns, place, size)
        write_title(axes, title, (place[0], 0.2))
        below = top + len(mask.rows) * size + 0.22
        axes.text(place[0], below, mask.note, fontsize=8, color=SOFT)
        left = place[0] + size * len(mask.columns) + gap
        spoken.append(f"{title}: {int(mask.visible.sum())} of {mask.visible.numel()} cells count")
    return set_alt_text(figure, "Masks. " + "; ".join(spoken))


# -------------------------------------------------------------------------------------------- cache


def position_states(length: int, cached: bool) -> np.ndarray:
    """What a search does with each position in each of its steps.

    Args:
        length (int): T, words of the caption with `<start>`.
        cached (bool): keys and values of the words before are kept.

    Returns:
        np.ndarray: (T steps, T positions) 2 = computed, 1 = taken from the cache, 0 = not there.
    """
    before, now = np.tri(length, k=-1, dtype=int), np.eye(length, dtype=int)
    return 2 * now + before * (1 if cached else 2)


def cache_figure(words: Sequence[str]) -> Figure:
    """A caption said step by step, without and with the cache: what is computed in each step.

    Args:
        words (Sequence[str]): `<start>` and the words, as positions.

    Returns:
        Figure: two blocks of cells, a row a step, a column a position.
    """
    length = len(words)
    block = (WIDTH - 0.9 - 0.5) / 2
    size = min(0.34, block / length)
    top = 0.4 + room_above(words, size, 8)
    figure, axes = new_page(top + size * length + 0.42)
    colours = (NOT_YET, KEPT, NEW)
    totals = []
    for index, cached in enumerate((False, True)):
        states = position_states(length, cached)
        place = (0.45 + index * (block + 0.9), top)
        draw_cells(axes, [[colours[state] for state in row] for row in states], place, size)
        name_columns(axes, words, place, size, 8)
        name_rows(axes, [str(step + 1) for step in range(length)], place, size, 7.5)
        totals.append(int((states == 2).sum()))
        title = f"{'With' if cached else 'Without'} cache: {totals[-1]} positions computed"
        write_title(axes, title, (place[0], 0.2))
    axes.text(0.45 - 0.08, top - 0.07, "step", ha="right", fontsize=7.5, color=SOFT)
    left = 0.45
    for name, colour in (("computed", NEW), ("taken from the cache", KEPT), ("not yet", NOT_YET)):
        axes.add_patch(Rectangle((left, top + size * length + 0.16), 0.16, 0.16, color=colour))
        axes.text(left + 0.23, top + size * length + 0.28, name, fontsize=8.5)
        left += text_width(name, 8.5) + 0.55
    text = f"{length} steps: {totals[0]} positions computed without, {totals[1]} with a cache"
    return set_alt_text(figure, text)


def cache_times(
    by_length: Mapping[int, tuple[float, float]], by_batch: Mapping[int, tuple[float, float]]
) -> Figure:
    """What the cache saves, over the length of the captions and the number of pictures at once.

    Args:
        by_length (Mapping): words of a caption to seconds (without, with cache) of a batch.
        by_batch (Mapping): pictures at once to the same.

    Returns:
        Figure: times over the length; how many times faster over the batch.
    """
    figure, ((left, right),) = new_figure(1, 2, height=2.9, width_ratios=[1.2, 1])
    for index, (name, colour) in enumerate((("without cache", "orange"), ("with cache", "blue"))):
        times = [1000 * pair[index] for pair in by_length.values()]
        left.plot([*by_length], times, "o-", color=PALETTE[colour], label=name)
    left.set(title="Time of a batch, ms", xlabel="words a caption", ylim=(0, None))
    left.set_xticks([*by_length])
    left.legend(loc="upper left")
    ratios = [slow / fast for slow, fast in by_batch.values()]
    places = np.arange(len(ratios))
    right.bar(places, ratios, 0.6, color=PALETTE["blue"])
    for place, ratio in zip(places, ratios, strict=True):
        right.text(place, ratio, f"{ratio:.1f}×", ha="center", va="bottom", fontsize=8.5)
    right.axhline(1, color=PALETTE["grey"], linewidth=1.2, linestyle="--")
    right.set_xticks(places, [str(size) for size in by_batch])
    right.set(title="Times faster with cache", xlabel="pictures at once")
    right.grid(axis="x", visible=False)
    right.margins(y=0.15)
    length = ", ".join(
        f"{n} words {1000 * a:.0f} and {1000 * b:.0f}" for n, (a, b) in by_length.items()
    )
    batch = ", ".join(f"{n} pictures {r:.1f}" for n, r in zip(by_batch, ratios, strict=True))
    return set_alt_text(figure, f"ms without and with cache: {length}; times faster: {batch}")


# -------------------------------------------------------------------------------------------- heads


def heads_figure(
    weights: Tensor, words: Sequence[str], regions: Sequence[str], columns: int = 4
) -> Figure:
    """Where every head of a layer looks for each word: a block of cells a head.

    Args:
        weights (Tensor): (h, T, P), sums to one over P.
        words (Sequence[str]): T words.
        regions (Sequence[str]): names of P regions.
        columns (int): blocks in a row.

    Returns:
        Figure: h blocks, a row a region, a column a word; below them what the blues mean.
    """
    heads, length, number = weights.shape
    check_equal(words=words, weights=[0] * length)
    check_equal(regions=regions, weights=[0] * number)
    margin, gap, columns = max(text_width(r, 8) for r in regions) + 0.16, 0.22, min(columns, heads)
    size = min(0.3, (WIDTH - margin - 0.05 - gap * (columns - 1)) / (columns * length))
    above, rows = 0.3 + room_above(words, size, 7.5), -(-heads // columns)
    high = above + number * size
    bottom = rows * (high + 0.2) - 0.2
    figure, axes = new_page(bottom + 0.4)
    for head in range(heads):
        row, column = divmod(head, columns)
        place = (margin + column * (length * size + gap), row * (high + 0.2) + above)
        cells = [[MORE(v) for v in line] for line in weights[head].T.tolist()]
        draw_cells(axes, cells, place, size)
        name_columns(axes, words, place, size, 7.5)
        write_title(axes, f"head {head + 1}", (place[0], place[1] - above + 0.2))
        if column == 0:
            name_rows(axes, regions, place, size, 8)
    scale = (0, 25, 50, 75, 100)
    place, shades = (margin, bottom + 0.12), [[MORE(percent / 100) for percent in scale]]
    name_rows(axes, ["weight in %"], place, 0.25, 8)
    draw_cells(axes, shades, place, 0.25, [[str(percent) for percent in scale]], 7)
    best = weights.mean(0).argmax(-1).tolist()
    spoken = ", ".join(f"{w}: {regions[b]}" for w, b in zip(words, best, strict=True))
    return set_alt_text(figure, f"{heads} heads; most weight of all together: {spoken}")
