"""Pictures of lesson 7: what CLIP finds alike, what rewards pay for, captions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from captioning.plotting.pages import SOFT, check_equal, flow, new_page, place_picture, write_words
from captioning.plotting.style import CYCLE, LINE, PALETTE, WIDTH, new_figure, set_alt_text, wrap

CRITERIA = {"background": "#cfe8d5", "object": "#c3d9f6", "relation": "#f8d6b4"}  # grounds of words
LEFT, HEAD, GAP = 3.1, 0.42, 0.03  # inches: captions of the matrix, its title, between cells


# ----------------------------------------------------------------------------------------- pairs


def similarity_figure(
    pictures: Sequence[Any], captions: Sequence[str], similarity: Tensor
) -> Figure:
    """Pictures across, captions down, and how alike each pair is; own pairs are framed.

    Args:
        pictures (Sequence): N pictures.
        captions (Sequence[str]): N captions, in the order of their pictures.
        similarity (Tensor): (N, N) cosines, row = caption, column = picture.

    Raises:
        ValueError: the numbers do not agree.
    """
    check_equal(pictures=pictures, captions=captions, similarity=similarity)
    number, values = len(pictures), similarity.cpu().numpy()
    cell = (WIDTH - LEFT) / number
    figure, axes = new_page(HEAD + (number + 1) * cell)
    axes.text(0, 0.2, "How alike CLIP finds captions and pictures (cosine)", fontweight="bold")
    for column, picture in enumerate(pictures):
        place_picture(axes, picture, LEFT + column * cell, HEAD, cell - GAP)
    for row, caption in enumerate(captions):
        top = HEAD + (row + 1) * cell
        lines = "\n".join(wrap(caption, LEFT - 0.2, 8.5)[:3])
        axes.text(LEFT - 0.1, top + cell / 2, lines, ha="right", va="center", fontsize=8.5)
        for column in range(number):
            place = LEFT + column * cell, top
            _draw_pair(axes, place, cell - GAP, values, (row, column))
    found = sum(int(values[n].argmax() == n) for n in range(number))
    return set_alt_text(
        figure,
        f"Similarities of {number} captions and {number} pictures; {found} of the captions are "
        "most alike to their own picture.",
    )


def _draw_pair(
    axes: Axes, place: tuple[float, float], side: float, values: np.ndarray, pair: tuple[int, int]
) -> None:
    """A number on blue ground, the darker the more alike; a frame around a caption's own picture:
    green where no other picture is more alike, else red."""
    row, column = pair
    share = (values[pair] - values.min()) / max(float(np.ptp(values)), 1e-9)
    ground = to_rgba(PALETTE["blue"], 0.06 + 0.9 * share)
    axes.add_patch(Rectangle(place, side, side, facecolor=ground, linewidth=0))
    if row == column:
        edge = PALETTE["green"] if values[row].argmax() == row else PALETTE["red"]
        inner = (place[0] + 0.02, place[1] + 0.02)
        box = Rectangle(inner, side - 0.04, side - 0.04, fill=False, edgecolor=edge, linewidth=2.2)
        axes.add_patch(box)
    colour = "white" if share > 0.7 else PALETTE["ink"]
    middle = place[0] + side / 2, place[1] + side / 2
    text = f"{values[pair]:.2f}".replace("-", "−")
    axes.text(*middle, text, ha="center", va="center", fontsize=9, color=colour)


# ---------------------------------------------------------------------------------------- lengths


def scores_by_length(
    lengths: Sequence[int], scores: Mapping[str, Sequence[float]], bins: int = 6
) -> Figure:
    """What captions of different length are given, one panel a score.

    Args:
        lengths (Sequence[int]): words of each caption.
        scores (Mapping): name to a value of each caption.
        bins (int): groups of about equally many captions.

    Raises:
        ValueError: not one value of each score for each caption.
    """
    check_equal(lengths=lengths, **scores)
    figure, (row,) = new_figure(1, len(scores), height=2.7)
    words = np.asarray(lengths)
    edges = np.unique(np.quantile(words, np.linspace(0, 1, bins + 1)).round())
    groups = [(words >= a) & (words < b) for a, b in zip(edges, edges[1:], strict=False)]
    groups[-1] |= words == edges[-1]
    spoken = []
    for axes, (name, values), colour in zip(row, scores.items(), CYCLE, strict=False):
        kept = [(words[g].mean(), np.asarray(values, float)[g]) for g in groups if g.any()]
        x, y = [one for one, _ in kept], [one.mean() for _, one in kept]
        error = [1.96 * one.std() / max(1, len(one)) ** 0.5 for _, one in kept]
        axes.errorbar(x, y, error, fmt="o-", color=colour, capsize=2)
        axes.set(title=name, xlabel="words of a caption")
        axes.margins(y=0.15)
        spoken.append(f"{name} from {y[0]:.2f} (short) to {y[-1]:.2f} (long)")
    return set_alt_text(figure, "Scores of captions by their length: " + "; ".join(spoken))


# --------------------------------------------------------------------------------- side by side


def captions_beside(
    picture: Any,
    captions: Mapping[str, str],
    marks: Mapping[str, Sequence[str]] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """One picture with several captions, words of them on coloured ground.

    Args:
        picture: PIL image or array (H, W, 3).
        captions (Mapping): who says it, and what.
        marks (Mapping | None): for each its words' criterion ("" for none), in the order of the
            caption's words, as `finecapeval.mark_phrases` gives them.
        notes (Mapping | None): for each something to write behind its name.

    Raises:
        ValueError: there are no captions.
    """
    if not captions:
        raise ValueError("captions: none received, at least one expected")
    left, size, head = 2.35, 9.5, 0.21
    width = WIDTH - left
    heights = [head + len(flow(text.split() or ["-"], width, size)) * size * LINE / 72 + 0.1
               for text in captions.values()]  # fmt: skip
    shape = np.asarray(picture).shape
    legend = 0.3 if marks else 0.0
    figure, axes = new_page(max(sum(heights) + legend, 2.1 * shape[0] / shape[1]))
    place_picture(axes, picture, 0, 0, 2.1)
    top = 0.0
    for (name, text), height in zip(captions.items(), heights, strict=True):
        note = f"   {notes[name]}" if notes and name in notes else ""
        axes.text(left, top + 0.12, name + note, fontsize=8, color=SOFT, va="center")
        grounds = _grounds(text, marks.get(name, ()) if marks else ())
        write_words(axes, text.split() or ["-"], (left, top + head), width, size, grounds)
        top += height
    if marks:
        _draw_key(axes, left, top + 0.12)
    spoken = "; ".join(f"{name}: {text}" for name, text in captions.items())
    return set_alt_text(figure, f"A picture and what is said of it. {spoken}")


def _grounds(text: str, criteria: Sequence[str]) -> dict[int, str]:
    """Position of a written word to its ground; punctuation is part of the word before it."""
    words = text.split()
    if len(words) != len(criteria):  # clitics are words of their own there
        return {}
    return {n: CRITERIA[c] for n, c in enumerate(criteria) if c}


def _draw_key(axes: Axes, left: float, top: float) -> None:
    """What the grounds mean."""
    for place, (name, colour) in enumerate(CRITERIA.items()):
        x = left + 1.15 * place
        axes.add_patch(Rectangle((x, top - 0.07), 0.16, 0.14, color=colour, linewidth=0))
        axes.text(x + 0.22, top, name, fontsize=8, color=SOFT, va="center")


# ------------------------------------------------------------------------------------ many runs


def reward_dots(
    summary: Mapping[str, Any], search: str, scores: Mapping[str, str], columns: int = 4
) -> Figure:
    """What each reward does to each score: a dot a seed, a line at the mean, one panel a score.

    Args:
        summary (Mapping): of a matrix, see `bench.summary.summarise`.
        search (str): one of its searches.
        scores (Mapping): key to the title of its panel.
        columns (int): panels in a row.

    Raises:
        KeyError: the matrix has no such search or score.
    """
    names = list(summary["cells"])
    rows = -(-len(scores) // columns)
    height = rows * (0.55 + 0.22 * len(names))
    figure, grid = new_figure(rows, columns, height=height, sharey=True)
    spoken = []
    for axes, (key, title) in zip(grid.flat, scores.items(), strict=False):
        means = []
        for place, name in enumerate(names):
            one = summary["cells"][name]["tests"][search][key]
            colour = CYCLE[place % len(CYCLE)]
            axes.plot(one["seeds"], [place] * len(one["seeds"]), "o", color=colour, alpha=0.55)
            axes.plot([one["mean"]] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2.2)
            means.append(f"{name} {one['mean']:.2f}")
        axes.set_title(title, fontsize=9.5)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.12, y=0.12)
        axes.grid(axis="y", visible=False)
        spoken.append(f"{title}: {', '.join(means)}")
    grid.flat[0].invert_yaxis()
    for axes in grid.flat[len(scores) :]:
        axes.set_visible(False)
    return set_alt_text(figure, "What each reward does. " + "; ".join(spoken))
