"""What groups of words bring and cost: fewer calls, the price in quality, why distillation helps.

The animation is the figure of `plot_caption_timeline`, whose rows appear when their call is over:
an SVG with a style sheet of its own. Where nothing moves, it is the finished figure.
"""

from __future__ import annotations

import base64
import html
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from captioning.plotting import groups, pages, style
from vocabulary import tokenize

# ----------------------------------------------------------------------------- the same, in calls

SIZE, LINE, HEAD = 9.0, 0.225, 0.86  # points; inches: a line of words, above the first row
CLOCK, LANE = 0.62, 4.35  # inches: numbers beside the rows, a lane with them
PICTURE, LEAST = 1.55, 1.1  # inches: side of the picture, and how far it may shrink
PLAYED, STOOD = 6.0, 4.0  # seconds: of the slower caption, of the finished picture


class Lane(NamedTuple):
    """A caption as it was said: the words of each call, when each was over, and in which unit."""

    name: str
    calls: list[list[str]]
    ends: list[float]
    is_timed: bool
    ink: str
    ground: str


class Row(NamedTuple):
    """A caption after a call: its words, where the new ones begin, the lines that are shown."""

    words: list[str]
    first: int
    lines: list[list[int]]


def plot_caption_timeline(
    picture: Any,
    word_by_word: Sequence[str],
    in_groups: Sequence[str],
    group_size: int,
    milliseconds: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Figure:
    """One picture, described word by word and in groups: a row a call, its new words marked.

    Args:
        picture: PIL image or array (H, W, 3).
        word_by_word (Sequence[str]): the words said one at a time, with `<end>`.
        in_groups (Sequence[str]): the words said K at a time, with `<end>`; what was said after it
            in the last group may follow, and is struck out.
        group_size (int): K.
        milliseconds (tuple | None): measured times, one number a call for each of both captions.

    Returns:
        Figure: two lanes side by side; the title says how many times fewer calls, and how much
        faster.

    Raises:
        ValueError: a caption is empty, K is below 2, or not one time above zero for each call.
    """
    return _draw_timeline(picture, _lanes(word_by_word, in_groups, group_size, milliseconds))


def _lanes(
    word_by_word: Sequence[str],
    in_groups: Sequence[str],
    group_size: int,
    milliseconds: tuple[Sequence[float], Sequence[float]] | None,
) -> tuple[Lane, Lane]:
    if group_size < 2:
        raise ValueError(f"group_size: {group_size} received, 2 or more expected")
    if milliseconds is not None and len(milliseconds) != 2:
        raise ValueError(f"milliseconds: {len(milliseconds)} lists received, 2 expected")
    kinds = (
        ("word by word", word_by_word, 1, pages.UP, pages.PALE_UP),
        (f"in groups of {group_size}", in_groups, group_size, pages.DOWN, pages.PALE_DOWN),
    )
    found = []
    for index, (name, words, size, ink, ground) in enumerate(kinds):
        calls = groups.split_groups(words, size)
        times = [1.0] * len(calls) if milliseconds is None else [*map(float, milliseconds[index])]
        if len(times) != len(calls) or not all(0 < time < float("inf") for time in times):
            raise ValueError(
                f"milliseconds: {times} received, {len(calls)} numbers above 0 expected {name}"
            )
        timed = milliseconds is not None
        found.append(Lane(name, calls, [*accumulate(times)], timed, ink, ground))
    return found[0], found[1]


def _draw_timeline(picture: Any, lanes: tuple[Lane, Lane]) -> Figure:
    """The figure; what belongs to call n of lane l has the id "call-l-n"."""
    rows = [_rows_of(lane) for lane in lanes]
    ends = [HEAD + LINE * sum(len(row.lines) for row in some) for some in rows]
    pixels = np.asarray(picture)
    ratio, top = pixels.shape[0] / pixels.shape[1], ends[1] + 0.42
    side = min(PICTURE, max(LEAST, (ends[0] - top) / ratio))
    figure, axes = pages.new_page(max(ends[0] + 0.36, top + side * ratio + 0.08))
    slow, fast = lanes
    title = f"{len(slow.calls)} calls of the decoder become {len(fast.calls)}"
    if slow.is_timed:
        title += f", {slow.ends[-1]:.1f} ms become {fast.ends[-1]:.1f}: "
        title += f"{slow.ends[-1] / fast.ends[-1]:.1f} times as fast"
    axes.text(0, 0.2, title, fontsize=10.5, fontweight="bold")
    for number, (lane, some) in enumerate(zip(lanes, rows, strict=True)):
        _draw_lane(axes, lane, some, number)
    pages.place_picture(axes, picture, style.WIDTH - LANE + CLOCK, top, side)
    said = (f"{lane.name}: {' | '.join(map(' '.join, lane.calls))}" for lane in lanes)
    return style.set_alt_text(figure, f"{title}. " + "; ".join(said))


def _rows_of(lane: Lane) -> list[Row]:
    """The caption after each call; only the last row shows lines without a new word."""
    said, rows = [*accumulate(lane.calls)], []
    for words, new in zip(said, lane.calls, strict=True):
        first = len(words) - len(new)
        lines = pages.flow(words, LANE - CLOCK - 0.25, SIZE)
        shown = [line for line in lines if words is said[-1] or line[-1] >= first]
        rows.append(Row(words, first, shown))
    return rows


def _draw_lane(axes: Axes, lane: Lane, rows: Sequence[Row], number: int) -> None:
    """Name, a row a call, and when it is finished."""
    left, top = number * (style.WIDTH - LANE), HEAD
    axes.text(left, 0.52, lane.name, fontsize=9.5, fontweight="bold", color=lane.ink)
    look = {"fontsize": 8, "color": pages.SOFT, "ha": "right"}
    axes.text(left + CLOCK - 0.2, 0.76, "ms" if lane.is_timed else "call", **look)
    look |= {"va": "center_baseline"}
    counted = groups.count_until_end(rows[-1].words)
    for index, (row, end) in enumerate(zip(rows, lane.ends, strict=True)):
        gid = f"call-{number}-{index}"
        clock = f"{end:.1f}" if lane.is_timed else str(index + 1)
        axes.text(left + CLOCK - 0.2, top + LINE / 2, clock, gid=gid, **look)
        _write_row(axes, row, counted, (left + CLOCK, top), lane.ground, gid)
        top += len(row.lines) * LINE
    told = f"finished: {len(rows)} call" + "s" * (len(rows) > 1)
    told += f", {lane.ends[-1]:.1f} ms" if lane.is_timed else ""
    look = {"fontsize": 8.5, "color": lane.ink, "va": "center_baseline"}
    axes.text(left + CLOCK, top + 0.17, told, gid=gid, **look)


def _write_row(
    axes: Axes,
    row: Row,
    counted: int,
    place: tuple[float, float],
    colour: str,
    gid: str,
) -> None:
    """A caption so far: words before in grey, new ones on a ground, uncounted ones struck out."""
    words, first, lines = row
    look = {"fontsize": SIZE, "va": "center_baseline", "gid": gid}
    for number, line in enumerate(lines):
        left, middle = place[0], place[1] + (number + 0.5) * LINE
        before = " ".join(["…"] * (line[0] > 0 == number) + [words[i] for i in line if i < first])
        if before:
            axes.text(left, middle, before, color=groups.FADED, **look)
            left += pages.text_width(before + " ", SIZE)
        for index in (i for i in line if i >= first):
            width, counts = pages.text_width(words[index], SIZE), index < counted
            box = ((left - 0.02, middle - LINE / 2 + 0.015), width + 0.04, LINE - 0.03)
            ground = colour if counts else groups.UNCOUNTED
            axes.add_patch(Rectangle(*box, facecolor=ground, linewidth=0, gid=gid))
            if not counts:
                ends = (left - 0.01, left + width + 0.01)
                axes.plot(ends, (middle, middle), color=groups.FADED, linewidth=1, gid=gid)
            ink = style.PALETTE["ink"] if counts else groups.FADED
            axes.text(left, middle, words[index], color=ink, **look)
            left += pages.text_width(words[index] + " ", SIZE)


class Animation:
    """A figure whose parts appear in turn: SVG for viewers that show it, else the still figure."""

    def __init__(self, figure: Figure, svg: str) -> None:
        self.figure, self.svg = figure, svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data, kind = style.image_bytes(self.figure)
        spoken = style.alt_text(self.figure)
        width, height = (round(inches * style.DPI) for inches in self.figure.get_size_inches())
        still = base64.b64encode(data).decode("ascii")
        shown = {"image/svg+xml": self.svg, f"image/{kind}": still, "text/plain": spoken}
        return shown, {f"image/{kind}": {"width": width, "height": height, "alt": spoken}}


def animate_captions(
    picture: Any,
    word_by_word: Sequence[str],
    in_groups: Sequence[str],
    group_size: int,
    milliseconds: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Animation:
    """`plot_caption_timeline`, moving: each row appears when its call is over, slowed down.

    The slower caption takes six seconds, then everything stands for four. Readers who asked their
    system for less motion see it standing.

    Args:
        picture, word_by_word, in_groups, group_size, milliseconds: see `plot_caption_timeline`.

    Returns:
        Animation: shown by a notebook when it is the last line of a cell; `svg` is its file.

    Raises:
        ValueError: see `plot_caption_timeline`.
    """
    lanes = _lanes(word_by_word, in_groups, group_size, milliseconds)
    figure = _draw_timeline(picture, lanes)
    svg = _to_svg(figure)
    salt = f"a{zlib.crc32(svg.encode()):08x}"  # several animations may share a page
    svg = re.sub(r'id="(call-\d+-\d+)"', rf'class="{salt}-\1"', svg)
    longest = max(lane.ends[-1] for lane in lanes)
    rules = [
        _appears(f"{salt}-call-{number}-{row}", end / longest)
        for number, lane in enumerate(lanes)
        for row, end in enumerate(lane.ends)
    ]
    moving = "@media (prefers-reduced-motion: no-preference) {" + "".join(rules) + "}"
    spoken = f"<title>{html.escape(style.alt_text(figure))}</title>"
    head, body = svg[: svg.index(">") + 1], svg[svg.index(">") + 1 :]
    return Animation(figure, f'{head[:-1]} role="img">{spoken}<style>{moving}</style>{body}')


def _appears(name: str, share: float) -> str:
    """The rule for what appears after a share of the time that is played."""
    total = PLAYED + STOOD
    start = 100 * PLAYED * share / total
    frames = f"0%,{start:.2f}%{{opacity:0}}{start + 1:.2f}%,100%{{opacity:1}}"
    return f".{name}{{animation:{name} {total:g}s infinite}}@keyframes {name}{{{frames}}}"


def _to_svg(figure: Figure) -> str:
    """A figure as an SVG element: text stays text, photographs become JPEG."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "groups"}):
        figure.savefig(buffer, format="svg", dpi=1.4 * style.DPI, metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(r"image/png;base64,([^\"]+)", lambda found: _to_jpeg(found[1]), svg)
    return re.sub(r"\n\s*", "\n", svg[svg.index("<svg") :])


def _to_jpeg(png: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=style.JPEG_QUALITY, optimize=True)
    return "image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


# ------------------------------------------------------------------------------- speed and quality


def plot_speed_and_quality(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What speed costs: CIDEr over speed-up, and captions that repeat themselves over K.

    Args:
        rows (Sequence[Mapping]): one for each K of each training: `group_size`, `training` (name),
            `speed_up` (times as fast as word by word with its cache), `CIDEr` and `repetition`
            (shares of the captions, 0..1), the last two with a number for each seed.

    Returns:
        Figure: two panels; a line a training, whiskers from the lowest to the highest seed.

    Raises:
        ValueError: there are no rows, one lacks a key, or a number is missing or not finite.
    """
    keys = ("group_size", "training", "speed_up", "CIDEr", "repetition")
    groups.check_rows(rows, keys)
    for number, row in enumerate(rows):
        for key in ("speed_up", "CIDEr", "repetition"):
            if not np.size(row[key]) or not np.isfinite(row[key]).all():
                raise ValueError(f"rows: {key} {row[key]} in row {number}, finite numbers expected")
    trainings = [*dict.fromkeys(row["training"] for row in rows)]
    sizes = sorted({row["group_size"] for row in rows})
    figure, ((left, right),) = style.new_figure(1, 2, height=3.7, width_ratios=[1.45, 1])
    speeds = {k: np.mean([r["speed_up"] for r in rows if r["group_size"] == k]) for k in sizes}
    step = 0.006 * (max(speeds.values()) - min(speeds.values()))
    for index, training in enumerate(trainings):
        own = sorted((r for r in rows if r["training"] == training), key=lambda r: r["group_size"])
        aside = index - (len(trainings) - 1) / 2  # so that whiskers of equal x can be told apart
        look = {"color": style.CYCLE[index % len(style.CYCLE)], "label": training}
        x = [row["speed_up"] + aside * step for row in own]
        _draw_seeds(left, x, [row["CIDEr"] for row in own], **look)
        x = [sizes.index(row["group_size"]) + 0.07 * aside for row in own]
        _draw_seeds(right, x, [100 * np.asarray(row["repetition"]) for row in own], **look)
    for size, speed in speeds.items():
        left.axvline(speed, color=style.PALETTE["faint"], linewidth=6, zorder=0)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        look = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": pages.SOFT}
        left.annotate(f"K = {size}", (speed, 1), (0, 2), **where, **look)
    left.grid(axis="x", visible=False)
    left.margins(x=0.07, y=0.1)
    left.set_title("What speed costs: to the right is faster, up is better", pad=20)
    left.set(xlabel="times as fast as word by word (K = 1, with cache)", ylabel="CIDEr")
    right.set_title("Captions that repeat themselves, %", pad=20)
    right.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    right.set(xlabel="K, words said at once", ylim=(0, None))
    right.grid(axis="x", visible=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=len(trainings))
    told = (
        f"{row['training']}, K = {row['group_size']}: {row['speed_up']:.2f} times, CIDEr "
        f"{np.mean(row['CIDEr']):.2f}, repetitions {np.mean(row['repetition']):.1%}"
        for row in rows
    )
    return style.set_alt_text(figure, "Speed and quality. " + "; ".join(told))


def _draw_seeds(
    axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], color: str, label: str
) -> None:
    """A line through the means, a whisker at each point."""
    means = [float(np.mean(some)) for some in values]
    for place, some in zip(x, values, strict=True):
        axes.plot((place, place), (np.min(some), np.max(some)), color=color, linewidth=1.4)
    look = {"markersize": 7, "markeredgecolor": "white", "linewidth": 1.8, "clip_on": False}
    axes.plot(x, means, "o-", color=color, label=label, zorder=3, **look)


# -------------------------------------------------------------------------------- why distillation


def plot_teaching_captions(
    captions: Mapping[str, Mapping[Any, Sequence[str]]],
    group_sizes: Sequence[int] = (1, 2, 3, 4, 6),
    places: int = 12,
) -> Figure:
    """Why distillation helps: a teacher says the same picture in fewer ways than people do.

    Args:
        captions (Mapping): name of who says them ("people", "teacher") to picture to its captions,
            as written.
        group_sizes (Sequence[int]): K in the last panel.
        places (int): words in the panel before.

    Returns:
        Figure: different captions and words a picture; `word_entropy`; `fitting_share`.

    Raises:
        ValueError: nobody says anything, or a picture has no caption.
    """
    for name, of_pictures in (captions or {"captions": {}}).items():
        if not of_pictures or not all(len(own) for own in of_pictures.values()):
            raise ValueError(f"{name}: a picture without captions, at least one for each expected")
    figure, (row,) = style.new_figure(1, 3, height=3.3, width_ratios=[0.8, 1.1, 1.1])
    told = []
    for index, (name, of_pictures) in enumerate(captions.items()):
        words = {key: [tokenize(one) for one in own] for key, own in of_pictures.items()}
        counts = [
            np.mean([len({*map(tuple, own)}) for own in words.values()]),
            np.mean([len({word for one in own for word in one}) for own in words.values()]),
        ]
        bits = groups.word_entropy(words, places)
        fits = [100 * groups.fitting_share(words, group_size) for group_size in group_sizes]
        look = {"color": style.CYCLE[index % len(style.CYCLE)], "label": name}
        wide = 0.8 / len(captions)
        bars = row[0].bar(np.arange(2) - 0.4 + wide * (index + 0.5), counts, 0.92 * wide, **look)
        row[0].bar_label(bars, [f"{count:.1f}" for count in counts], fontsize=8.5)
        row[1].plot(range(1, places + 1), bits, "o-", **look)
        row[2].plot(range(len(fits)), fits, "o-", **look)
        near = {"textcoords": "offset points", "fontsize": 8, "color": look["color"]}
        for place, share in enumerate(fits):
            row[2].annotate(f"{share:.0f}", (place, share), (5, 4), **near)
        shares = ", ".join(f"K = {k} {s:.0f} %" for k, s in zip(group_sizes, fits, strict=True))
        told.append(f"{name}: {counts[0]:.1f} captions and {counts[1]:.1f} words a picture, ")
        told[-1] += f"{np.mean(bits):.2f} bits a word; K words drawn apart fit: {shares}"
    _name_teaching(row, group_sizes, places)
    figure.legend(*row[1].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    return style.set_alt_text(figure, "What is learned from. " + "; ".join(told))


def _name_teaching(row: Sequence[Axes], group_sizes: Sequence[int], places: int) -> None:
    row[0].set_title("Different ones a picture")
    row[0].set_xticks(range(2), ["captions", "words"])
    row[0].grid(axis="x", visible=False)
    row[0].margins(y=0.1)
    row[1].set(title="How open is the n-th word?", xlabel="n, place in the caption")
    row[1].set(ylabel="bits", ylim=(0, None), xticks=range(1, places + 1, 2))
    row[2].set(title="Drawn apart, do the words fit?", xlabel="K, the first words of a caption")
    row[2].set(ylabel="% that begin one of its captions", ylim=(0, 114))
    row[2].set_xticks(range(len(group_sizes)), [str(size) for size in group_sizes])
    row[2].set_xlim(-0.3, len(group_sizes) - 0.5)
