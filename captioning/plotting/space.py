"""Does a captioner know where things are? Mirror images, shares with intervals, many runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from captioning.plotting.pages import (
    PALE_DOWN,
    PALE_UP,
    SOFT,
    check_equal,
    flow,
    new_page,
    place_picture,
    write_words,
)
from captioning.plotting.style import CYCLE, LINE, PALETTE, WIDTH, new_figure, set_alt_text
from captioning.plotting.tables import Table

SIDES = {"left": PALE_UP, "right": PALE_DOWN}  # grounds of the two words
SIDE = re.compile(r"(left|right)\b", re.IGNORECASE)  # also in "right-hand", not in "leftover"
PAIRS = 3  # of pictures, in a row

# ------------------------------------------------------------------------------------------- mirror


def mirror_figure(
    pictures: Sequence[Image.Image], captions: Sequence[str], mirrored: Sequence[str]
) -> Figure:
    """Pictures beside their mirror images, each with its caption; left and right are marked.

    Args:
        pictures (Sequence[Image.Image]): the pictures; their mirror images are made here.
        captions (Sequence[str]): of the pictures.
        mirrored (Sequence[str]): of the mirror images.

    Returns:
        Figure: three pairs in a row.

    Raises:
        ValueError: not two captions for each picture.
    """
    check_equal(pictures=pictures, captions=captions, mirrored=mirrored)
    gap, between, size = 0.08, 0.3, 9.0
    pair = (WIDTH - between * (PAIRS - 1)) / PAIRS
    side, line = (pair - gap) / 2, size * LINE / 72
    rows, columns = -(-len(pictures) // PAIRS), min(PAIRS, len(pictures))
    ratio = max(picture.height / picture.width for picture in pictures)
    longest = max(len(flow(text.split(), side - 0.06, size)) for text in (*captions, *mirrored))
    text = longest * line + 0.22
    figure, axes = new_page(rows * (side * ratio + text), columns * (pair + between) - between)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, PAIRS)
        top = row * (side * ratio + text)
        flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for half, (shown, caption) in enumerate(((picture, captions), (flipped, mirrored))):
            left = column * (pair + between) + half * (side + gap)
            bottom = place_picture(axes, shown, left, top, side)
            words = caption[index].split()
            write_words(axes, words, (left, bottom + 0.04), side - 0.06, size, _mark_sides(words))
    spoken = "; ".join(f"{a} mirrored: {b}" for a, b in zip(captions, mirrored, strict=True))
    return set_alt_text(figure, f"{len(pictures)} pictures and their mirror images. {spoken}")


def _mark_sides(words: Sequence[str]) -> dict[int, str]:
    """The ground of each word that names a side, by its place."""
    found = {place: SIDE.match(word) for place, word in enumerate(words)}
    return {place: SIDES[match.group().lower()] for place, match in found.items() if match}


def shares_figure(
    shares: Mapping[str, tuple[int, int, float, float, float]],
    title: str,
    chance: float | None = None,
) -> Figure:
    """Shares with their intervals, one a row.

    Args:
        shares (Mapping): name to hits, trials, their share, and the ends of its interval
            (`mirror.Share`).
        title (str): what is counted.
        chance (float | None): a dashed line: what a coin would reach.

    Returns:
        Figure: a point and a line for each, hits and trials beside it.
    """
    figure, ((axes,),) = new_figure(height=0.9 + 0.42 * len(shares))
    for row, (hits, total, share, low, high) in enumerate(shares.values()):
        colour = CYCLE[row % len(CYCLE)]
        axes.plot((100 * low, 100 * high), (row, row), color=colour, linewidth=3)
        axes.plot(100 * share, row, "o", color=colour, markersize=9, markeredgecolor="white")
        axes.text(102, row, f"{hits} of {total}", va="center", fontsize=9)
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set(xlim=(0, 100), ylim=(len(shares) - 0.5, -0.5), title=title, xlabel="%")
    axes.grid(axis="y", visible=False)
    if chance is not None:
        axes.axvline(100 * chance, color=PALETTE["grey"], linewidth=1.2, linestyle="--")
        place = axes.get_xaxis_transform()
        style = {"fontsize": 8.5, "color": SOFT, "ha": "center", "transform": place}
        axes.text(100 * chance, 1.03, "a coin", **style)
    spoken = "; ".join(
        f"{name}: {hits} of {total}, {100 * low:.0f} to {100 * high:.0f} %"
        for name, (hits, total, _, low, high) in shares.items()
    )
    return set_alt_text(figure, f"{title}, with 95 % intervals: {spoken}")


# ------------------------------------------------------------------------------------------- matrix


def matrix_table(summary: Mapping[str, Any], search: str, scores: Mapping[str, str]) -> Table:
    """The cells of an experiment matrix: mean and deviation over seeds.

    Args:
        summary (Mapping): what `bench matrix` writes to `summary.json`.
        search (str): one of its searches.
        scores (Mapping[str, str]): key of a score to its name in the table.

    Returns:
        Table: a row a cell, the first is what the others are compared to.
    """
    rows = {}
    for name, cell in summary["cells"].items():
        values = {title: cell["tests"][search][key] for key, title in scores.items()}
        rows[name] = {
            title: f"{one['mean']:.3f}" + ("" if one["std"] is None else f" ± {one['std']:.3f}")
            for title, one in values.items()
        }
        rows[name] |= {"parameters": cell["parameters"], "seeds": len(cell["seeds"])}
    return Table(rows, search, bold=summary["baseline"])


def matrix_differences(
    summary: Mapping[str, Any], search: str, scores: Mapping[str, str]
) -> Figure:
    """What each cell gains over the first one: a dot a seed, and the 95 % interval of their mean.

    Args:
        summary, search, scores: see `matrix_table`.

    Returns:
        Figure: one axes a score; intervals that do not touch zero are in strong colour.

    Raises:
        ValueError: there is nothing to compare the first cell with.
    """
    cells = {n: c["tests"][search] for n, c in summary["cells"].items()}
    cells = {n: tests for n, tests in cells.items() if n != summary["baseline"]}
    cells = {n: t for n, t in cells.items() if all("difference" in t[key] for key in scores)}
    if not cells:
        raise ValueError("summary: no cell beside the first one, at least one expected")
    figure, (row,) = new_figure(1, len(scores), height=1.0 + 0.36 * len(cells), sharey=True)
    spoken = []
    for axes, (key, title) in zip(row, scores.items(), strict=True):
        for place, (name, tests) in enumerate(cells.items()):
            one = tests[key]["difference"]
            _draw_difference(axes, place, one)
            spoken.append(f"{title}, {name} {one['mean']:+.3f}")
        axes.axvline(0, color=PALETTE["ink"], linewidth=1.2)
        axes.set(title=title, xlabel=f"minus {summary['baseline']}")
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    row[0].set_yticks(range(len(cells)), list(cells))
    row[0].set_ylim(len(cells) - 0.5, -0.5)
    return set_alt_text(figure, f"Differences to {summary['baseline']}: " + "; ".join(spoken))


def _draw_difference(axes: Axes, place: int, one: Mapping[str, Any]) -> None:
    """The seeds, their mean and its interval, where there is one."""
    low, high = one["low"], one["high"]
    known = low is not None
    colour = PALETTE["blue"] if known and (low > 0 or high < 0) else PALETTE["grey"]
    if known:
        axes.plot((low, high), (place, place), color=colour, linewidth=2.5, alpha=0.6)
    heights = np.full(len(one["seeds"]), place) + 0.2
    axes.plot(one["seeds"], heights, "o", color=colour, markersize=3, alpha=0.8)
    axes.plot(one["mean"], place, "o", color=colour, markersize=8, markeredgecolor="white")


def clear_cells(summary: Mapping[str, Any], search: str, score: str) -> list[str]:
    """The cells whose interval over seeds does not hold zero, best first."""
    found = {}
    for name, cell in summary["cells"].items():
        one = cell["tests"][search][score].get("difference", {"low": None})
        if one["low"] is not None and (one["low"] > 0 or one["high"] < 0):
            found[name] = one["mean"]
    return sorted(found, key=lambda name: -found[name])
