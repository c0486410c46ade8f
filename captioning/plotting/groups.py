"""Words in groups: who sees whom, what is read, what is said twice, and how open words are.

Masks and inputs come from the functions that the decoder itself uses. What groups bring and cost is
drawn in `group_quality.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from captioning.decoders.attention import sees_until_itself
from captioning.decoders.groups import group_inputs
from captioning.plotting import pages, transformers
from captioning.plotting.style import LINE, PALETTE, WIDTH, set_alt_text
from captioning.plotting.transformers import HIDDEN, SEEN
from vocabulary import END_IDX, SPECIAL_WORDS, START_IDX

START, END = SPECIAL_WORDS[START_IDX], SPECIAL_WORDS[END_IDX]
NOTHING = "–"  # stands where a group has a place and the caption no word
UNCOUNTED, FADED = "#efeff4", "#9d9cab"  # ground and ink of words after `<end>`
GROUNDS = (pages.PALE_UP, pages.PALE_DOWN, "#cfe8d6", "#e0d5ef")  # of groups, in turn


def split_groups(words: Sequence[str], group_size: int) -> list[list[str]]:
    """Words as they are said: K at a time, the last group as long as what is left.

    Raises:
        ValueError: there are no words, or K is not a number of words.
    """
    if not words or isinstance(words, str):
        raise ValueError(f"words: {words!r} received, a list of at least one word expected")
    if group_size < 1:
        raise ValueError(f"group_size: {group_size} received, 1 or more expected")
    return [list(words[start : start + group_size]) for start in range(0, len(words), group_size)]


def count_until_end(words: Sequence[str]) -> int:
    """How many of these words count: all up to the first `<end>`, which counts too."""
    return [*words].index(END) + 1 if END in words else len(words)


def read_words(words: Sequence[str], group_size: int) -> list[str]:
    """What a decoder reads while it says these words: T' names, T' the next multiple of K."""
    split_groups(words, group_size)  # refuses what makes no sense
    first = len(SPECIAL_WORDS)  # each place gets an id of its own: a word may stand twice
    ids = [START_IDX, *range(first, first + len(words) - 1)]
    read = group_inputs(torch.tensor([ids]), group_size)[0].tolist()
    return [START if index == START_IDX else words[index - first] for index in read]


# -------------------------------------------------------------------------------------------- masks

PANELS, NAMES = 3, 8.0  # masks in a row; points of the words beside them
CELLS = {"hidden": HIDDEN, "groups before": SEEN, "its own group": "#5a94dd"}


def plot_group_masks(words: Sequence[str], group_sizes: Sequence[int] = (1, 2, 4)) -> Figure:
    """Who sees whom, one matrix a K: left what a row reads, above what it sees, right what it says.

    Args:
        words (Sequence[str]): what is said, with `<end>`; eight words or so can be read.
        group_sizes (Sequence[int]): a K each.

    Returns:
        Figure: a block of cells a K, its groups outlined.

    Raises:
        ValueError: there are no words or no K, or a K is below 1.
    """
    if not group_sizes:
        raise ValueError("group_sizes: none received, at least one expected")
    reads = [read_words(words, group_size) for group_size in group_sizes]
    columns = min(PANELS, len(reads))
    left = max(pages.text_width(word, NAMES) for word in (START, *words)) + 0.14
    right = max(pages.text_width(word, NAMES) for word in words) + 0.34
    room, longest = WIDTH / columns - left - right, max(map(len, reads))
    size = min(0.3, room / longest)
    above = 0.5 + transformers.room_above([START, *words], size, NAMES)
    high, rows = above + longest * size + 0.2, -(-len(reads) // columns)
    figure, axes = pages.new_page(0.36 + rows * high + 0.26)
    title = "Who sees whom: each word sees what its group and the groups before it read"
    axes.text(0, 0.2, title, fontsize=10.5, fontweight="bold")
    spoken = []
    for index, (group_size, read) in enumerate(zip(group_sizes, reads, strict=True)):
        row, column = divmod(index, columns)
        place = (column * WIDTH / columns + left, 0.36 + row * high + above)
        count = _draw_mask(axes, words, read, group_size, place, size)
        spoken.append(f"K = {group_size}: {len(read) // group_size} calls, {count} cells visible")
    _write_key(axes, 0.36 + rows * high + 0.05)
    return set_alt_text(figure, f"{title}. " + "; ".join(spoken))


def _draw_mask(
    axes: Axes,
    words: Sequence[str],
    read: Sequence[str],
    group_size: int,
    place: tuple[float, float],
    size: float,
) -> int:
    """One matrix with its names; returns how many cells are visible."""
    left, top = place
    length = len(read)
    mask = sees_until_itself(length, 0, torch.device("cpu"), group_size)
    visible = torch.ones(length, length, dtype=torch.bool) if mask is None else mask
    group = torch.arange(length) // group_size
    kinds = visible.long() + (visible & (group[:, None] == group))
    cells = [[list(CELLS.values())[kind] for kind in row] for row in kinds.tolist()]
    transformers.draw_cells(axes, cells, place, size)
    for start in range(0, length, group_size):
        corner, side = (left + start * size, top + start * size), group_size * size
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=pages.UP, linewidth=1.6))
    above = transformers.room_above(read, size, NAMES)
    transformers.name_rows(axes, read, place, size, NAMES)
    transformers.name_columns(axes, read, place, size, NAMES)
    said = [*words, *[NOTHING] * (length - len(words))]
    for y, word in enumerate(said):
        where = (left + length * size + 0.08, top + (y + 0.5) * size)
        style = {"color": pages.UP, "fontweight": "bold"} if y < len(words) else {"color": FADED}
        axes.text(*where, word, va="center_baseline", fontsize=NAMES, **style)
    calls = length // group_size
    axes.text(left, top - above - 0.3, f"K = {group_size}", fontsize=10.5, fontweight="bold")
    told = f"{calls} calls of the decoder" if calls > 1 else "1 call of the decoder"
    axes.text(left, top - above - 0.12, told, fontsize=8.5, color=pages.SOFT)
    style = {"fontsize": NAMES, "color": pages.SOFT}
    axes.text(left - 0.08, top - 0.07, "reads", ha="right", **style)
    axes.text(left + length * size + 0.08, top - 0.07, "says", **style)
    return int(visible.sum())


def _write_key(axes: Axes, top: float) -> None:
    left = 0.0
    for name, colour in reversed(CELLS.items()):
        axes.add_patch(Rectangle((left, top), 0.15, 0.15, facecolor=colour, linewidth=0))
        axes.text(left + 0.22, top + 0.125, name, fontsize=8.5)
        left += pages.text_width(name, 8.5) + 0.5


# --------------------------------------------------------------------------------- what is read

FONT, HIGH, MARGIN = 9.0, 0.27, 0.62  # points; inches: a row of words, the names of the rows
BAND = 2 * HIGH + 0.62  # inches from one line of groups to the next


def plot_what_is_read(words: Sequence[str], group_size: int) -> Figure:
    """What each call of the decoder reads and says: a block a group, coloured by who said it.

    Args:
        words (Sequence[str]): what was said, with `<end>`; what was said after it in the last
            group may follow, and is struck out.
        group_size (int): K.

    Returns:
        Figure: two rows of words for each line of groups.

    Raises:
        ValueError: there are no words, or K is below 1.
    """
    read, counted = read_words(words, group_size), count_until_end(words)
    said = [*words, *[NOTHING] * (len(read) - len(words))]
    pairs = zip(read, said, strict=True)
    wide = [max(pages.text_width(word, FONT) for word in pair) + 0.14 for pair in pairs]
    groups = split_groups(range(len(read)), group_size)
    bands = _fill_bands([sum(wide[i] for i in group) + 0.16 for group in groups])
    top = 0.42
    figure, axes = pages.new_page(top + len(bands) * BAND + 0.12)
    title = (
        "Word by word: each word is read to say the next one"
        if group_size == 1
        else f"Groups of {group_size}: each call reads the {group_size} words of the call before"
    )
    axes.text(0, 0.2, title, fontsize=10.5, fontweight="bold")
    for row, band in enumerate(bands):
        _draw_band(axes, [groups[g] for g in band], (read, said), wide, top + row * BAND, counted)
    if counted < len(said):
        foot = f"struck out: said after {END} in the same group; it never counts"
        axes.text(MARGIN, top + len(bands) * BAND, foot, fontsize=8.5, color=pages.SOFT)
    spoken = [
        f"reads {' '.join(read[i] for i in group)}, says {' '.join(said[i] for i in group)}"
        for group in groups
    ]
    told = "; ".join(f"call {number}: {text}" for number, text in enumerate(spoken, start=1))
    return set_alt_text(figure, f"{title}. {told}; {counted} words count")


def _fill_bands(widths: Sequence[float]) -> list[list[int]]:
    """Groups in lines as wide as the page; a line has at least one."""
    bands: list[list[int]] = []
    room = 0.0
    for index, width in enumerate(widths):
        if not bands or width > room:
            bands.append([])
            room = WIDTH - MARGIN
        bands[-1].append(index)
        room -= width
    return bands


def _draw_band(
    axes: Axes,
    groups: Sequence[Sequence[int]],
    rows: tuple[Sequence[str], Sequence[str]],
    wide: Sequence[float],
    top: float,
    counted: int,
) -> None:
    """A line of groups: the row that is read, the row that is said, arrows to the next group."""
    upper, lower = top + 0.2, top + 0.36 + HIGH
    for name, y in (("reads", upper), ("says", lower)):
        style = {"fontsize": 9, "color": pages.SOFT, "ha": "right", "va": "center_baseline"}
        axes.text(MARGIN - 0.12, y + HIGH / 2, name, **style)
    left = MARGIN
    for group in groups:
        number, width = group[0] // len(group), sum(wide[i] for i in group)
        axes.text(left, top + 0.13, f"call {number + 1}", fontsize=8, color=pages.SOFT)
        before = GROUNDS[(number - 1) % len(GROUNDS)] if number else PALETTE["faint"]
        grounds = (before, GROUNDS[number % len(GROUNDS)])
        for words, y, ground in zip(rows, (upper, lower), grounds, strict=True):
            axes.add_patch(Rectangle((left, y), width, HIGH, facecolor=ground, linewidth=0))
            x = left
            for i in group:
                _write_word(axes, words[i], (x, y), wide[i], words is rows[0] or i < counted)
                x += wide[i]
        left += width + 0.16
        if group is not groups[-1]:  # what was said is what is read next
            ends = ((left - 0.26, lower), (left + 0.1, upper + HIGH))
            arrow = {"arrowstyle": "-|>", "mutation_scale": 8, "color": pages.SOFT, "linewidth": 1}
            axes.add_patch(FancyArrowPatch(*ends, shrinkA=0, shrinkB=0, **arrow))


def _write_word(
    axes: Axes, word: str, place: tuple[float, float], width: float, counts: bool
) -> None:
    """A word in the middle of its part of a block; one that does not count is grey and struck."""
    left, top = place
    middle = (left + width / 2, top + HIGH / 2)
    if not counts:
        axes.add_patch(Rectangle(place, width, HIGH, facecolor=UNCOUNTED, linewidth=0))
        half = pages.text_width(word, FONT) / 2 + 0.02
        ends = (middle[0] - half, middle[0] + half)
        axes.plot(ends, (middle[1], middle[1]), color=FADED, linewidth=1.0)
    style = {"ha": "center", "va": "center_baseline", "fontsize": FONT}
    axes.text(*middle, word, color=PALETTE["ink"] if counts else FADED, **style)


# ------------------------------------------------------------------------------------ repetitions

SAID, THUMB, CELL = 10.0, 1.05, 0.3  # points; inches: a picture, between two columns of them
BAR = "│"  # between two groups


def repeated_runs(words: Sequence[str]) -> list[tuple[int, int]]:
    """Runs of one to three words that are followed at once by the same words.

    Counted as `fluency` of `captioning/evaluation/fluency.py` finds them, the shortest runs only.

    Returns:
        list[tuple[int, int]]: where each begins, and how many words it has.
    """
    return [
        (start, length)
        for length in (1, 2, 3)
        for start in range(len(words) - 2 * length + 1)
        if words[start : start + length] == words[start + length : start + 2 * length]
        and (length == 1 or len(set(words[start : start + length])) > 1)
    ]


def show_repetitions(rows: Sequence[Mapping[str, Any]], columns: int = 2) -> Figure:
    """Captions that say something twice in a row, the words marked, a bar between two groups.

    Args:
        rows (Sequence[Mapping]): one for each caption: `picture` (PIL image or array), `words`
            (list of str) and `group_size`.
        columns (int): captions side by side.

    Returns:
        Figure: a picture and its caption each; the title counts the repetitions within a group.

    Raises:
        ValueError: there are no captions, or one lacks a key.
    """
    check_rows(rows, ("picture", "words", "group_size"))
    cell = (WIDTH - CELL * (columns - 1)) / columns
    width, line = cell - THUMB - 0.15, SAID * LINE / 72
    said = [[w for w in row["words"][: count_until_end(row["words"])] if w != END] for row in rows]
    found = [repeated_runs(words) for words in said]
    parts = [_with_bars(*some) for some in zip(said, found, rows, strict=True)]
    pictures = [THUMB * p.shape[0] / p.shape[1] for p in (np.asarray(r["picture"]) for r in rows)]
    texts = [0.26 + line * len(pages.flow(shown, width, SAID)) for shown, _ in parts]
    high = max(*pictures, *texts) + 0.2
    figure, axes = pages.new_page(0.38 + -(-len(rows) // columns) * high)
    within = [
        start // row["group_size"] == (start + 2 * length - 1) // row["group_size"]
        for row, runs in zip(rows, found, strict=True)
        for start, length in runs
    ]
    title = f"{sum(within)} of {len(within)} repetitions happen within a group"
    title = title if within else "No repetitions"
    axes.text(0, 0.2, title, fontsize=10.5, fontweight="bold")
    for index, (row, (shown, marked)) in enumerate(zip(rows, parts, strict=True)):
        down, across = divmod(index, columns)
        left, top = across * (cell + CELL), 0.38 + down * high
        pages.place_picture(axes, row["picture"], left, top, THUMB)
        left += THUMB + 0.15
        told = "word by word" if row["group_size"] == 1 else f"groups of {row['group_size']}"
        axes.text(left, top + 0.12, told, fontsize=8.5, color=pages.SOFT)
        pages.write_words(
            axes, shown, (left, top + 0.22), width, SAID, dict.fromkeys(marked, pages.PALE_DOWN)
        )
    told = (f"K = {r['group_size']}: {' '.join(w)}" for r, w in zip(rows, said, strict=True))
    return set_alt_text(figure, f"{title}. " + "; ".join(told))


def _with_bars(
    words: Sequence[str], runs: Sequence[tuple[int, int]], row: Mapping[str, Any]
) -> tuple[list[str], list[int]]:
    """The words with a bar before each new group, and the places of those that are repeated."""
    repeated = {start + i for start, length in runs for i in range(2 * length)}
    shown, marked, size = [], [], row["group_size"]
    for place, word in enumerate(words):
        if place and place % size == 0 and size > 1:
            shown.append(BAR)
        if place in repeated:
            marked.append(len(shown))
        shown.append(word)
    return shown, marked


def check_rows(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    """Refuse no rows at all, and a row that lacks a key.

    Raises:
        ValueError: which row, what it has, what it should have.
    """
    if not rows:
        raise ValueError("rows: none received, at least one expected")
    for number, row in enumerate(rows):
        if missing := [key for key in keys if key not in row]:
            raise ValueError(f"rows: {missing[0]!r} is missing in row {number}, {keys} expected")


# ------------------------------------------------------------------------------ how open words are


def word_entropy(captions: Mapping[Any, Sequence[Sequence[str]]], places: int) -> list[float]:
    """How open the n-th word is when the picture is known: mean entropy over the pictures.

    A caption that is over goes on saying `<end>`, so that every caption counts at every place.

    Args:
        captions (Mapping): picture to its captions, a list of words each.
        places (int): n goes from 1 to here.

    Returns:
        list[float]: bits for each place; 0 where all captions of each picture agree, at most the
        logarithm of how many captions a picture has.
    """
    sums = np.zeros(places)
    for own in captions.values():
        for place in range(places):
            counts = Counter(words[place] if place < len(words) else END for words in own)
            shares = np.array([*counts.values()]) / len(own)
            sums[place] -= (shares * np.log2(shares)).sum()
    return (sums / len(captions)).tolist()


def fitting_share(captions: Mapping[Any, Sequence[Sequence[str]]], group_size: int) -> float:
    """How often K words fit together that are drawn without a look at each other.

    The first K words of a picture's captions are taken: a decoder that has learned these captions
    perfectly, and says its first group at once, draws each from all that were said in its place.

    Args:
        captions (Mapping): picture to its captions, a list of words each.
        group_size (int): K.

    Returns:
        float: the probability (0..1, a mean over the pictures) that a caption begins like this.
    """
    total = 0.0
    for own in captions.values():
        begun = [tuple([*words, *[END] * group_size][:group_size]) for words in own]
        places = [Counter(column) for column in zip(*begun, strict=True)]
        for beginning in set(begun):
            shares = [places[n][word] / len(own) for n, word in enumerate(beginning)]
            total += math.prod(shares)
    return total / len(captions)
