"""One calm look for every figure of the course, and grids of pictures with their captions.

Figures are made without pyplot: a function returns one, a notebook shows it as the last line of a
cell, and nothing stays open in memory. `use_course_style()` sets fonts and colours and decides how
notebooks store figures: photographs and drawings as JPEG, charts as PNG, both with alt text.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

PALETTE = {
    "blue": "#3b78c9",
    "orange": "#ee8a2a",
    "green": "#3c9a5f",
    "red": "#d4493f",
    "purple": "#8259b3",
    "yellow": "#f0bf33",
    "pink": "#e58ab0",
    "white": "#d5dbe8",  # stands for white things: still visible on white paper
    "grey": "#8b8fa3",
    "ink": "#2c2a3a",  # text and axes
    "faint": "#e7e6ee",  # grid lines, backgrounds of cells
}
CYCLE = [PALETTE[name] for name in ("blue", "orange", "green", "red", "purple", "yellow", "pink")]
WIDTH = 9.0  # inches: the text width of a notebook
DPI = 100  # of the size a figure is shown at
CHART_SCALE, PICTURE_SCALE = 1.4, 1.1  # stored pixels for each pixel shown
JPEG_QUALITY = 64
BULLET = "– "  # before each of several captions of a picture
LINE = 1.32  # height of a line of text in units of its size

STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": PALETTE["ink"],
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.edgecolor": "#b9b8c6",
    "axes.labelcolor": PALETTE["ink"],
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["faint"],
    "grid.linewidth": 0.9,
    "xtick.color": "#6c6b7d",
    "ytick.color": "#6c6b7d",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "legend.frameon": False,
    "image.interpolation": "antialiased",
    "savefig.facecolor": "white",
}


def use_course_style() -> None:
    """Set fonts and colours, and how a notebook stores figures. Called once, at its top."""
    matplotlib.rcParams.update(STYLE)
    shell = get_ipython()
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, _as_png)
    formatters["image/jpeg"].for_type(Figure, _as_jpeg)
    formatters["text/plain"].for_type(Figure, lambda f, printer, _: printer.text(alt_text(f)))


def set_alt_text(figure: Figure, text: str) -> Figure:
    """Give a figure the sentence that stands in for it where it cannot be seen.

    Args:
        figure (Figure): the figure.
        text (str): what it shows, in words.

    Returns:
        Figure: the same figure.
    """
    figure.set_label(text)
    return figure


def alt_text(figure: Figure) -> str:
    """The sentence of `set_alt_text`, or the titles of the figure's axes."""
    titles = [axes.get_title(loc) for axes in figure.axes for loc in ("left", "center")]
    spoken = [" ".join(title.split()) for title in titles if title]
    return figure.get_label() or "Figure: " + ("; ".join(spoken) or f"{len(figure.axes)} panels")


def holds_pictures(figure: Figure) -> bool:
    """Whether a figure shows a photograph or drawing (an image with three colours)."""
    return any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.images)


def image_bytes(figure: Figure) -> tuple[bytes, str]:
    """A figure as it is stored: JPEG when it holds pictures, else PNG.

    Returns:
        tuple[bytes, str]: the file's content and "jpeg" or "png".
    """
    pictures = holds_pictures(figure)
    buffer = io.BytesIO()
    scale = PICTURE_SCALE if pictures else CHART_SCALE
    figure.savefig(buffer, format="png", dpi=DPI * scale)
    if not pictures:
        return _fewer_colours(buffer), "png"
    stored = io.BytesIO()
    Image.open(buffer).convert("RGB").save(stored, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return stored.getvalue(), "jpeg"


def _fewer_colours(png: io.BytesIO) -> bytes:
    """The same chart with at most 64 colours: a third of the bytes, no visible difference.

    The palette is chosen to cover the colours there are, so that a thin line keeps its own.
    """
    image = Image.open(png).convert("RGB")
    image = image.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=0)
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return stored.getvalue()


def _metadata(figure: Figure) -> dict[str, Any]:
    width, height = (round(inches * DPI) for inches in figure.get_size_inches())
    return {"width": width, "height": height, "alt": alt_text(figure)}


def _as_png(figure: Figure) -> tuple[bytes, dict] | None:
    return None if holds_pictures(figure) else (image_bytes(figure)[0], _metadata(figure))


def _as_jpeg(figure: Figure) -> tuple[bytes, dict] | None:
    return (image_bytes(figure)[0], _metadata(figure)) if holds_pictures(figure) else None


# ---------------------------------------------------------------------------------------- figures


def new_figure(
    rows: int = 1, columns: int = 1, height: float = 3.0, width: float = WIDTH, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """An empty figure with a grid of axes.

    Args:
        rows (int): rows of axes.
        columns (int): columns of axes.
        height (float): inches of the whole figure.
        width (float): inches of the whole figure.
        **subplots: passed to `Figure.subplots`, e.g. `sharey=True`, `width_ratios=[2, 1]`.

    Returns:
        tuple[Figure, np.ndarray]: the figure and its axes, always an array (rows, columns).
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def show_picture(axes: Axes, picture: Any, title: str = "") -> Axes:
    """One picture without ticks or frame.

    Args:
        axes (Axes): where to draw.
        picture: a PIL image or an array (H, W, 3) of bytes or of numbers from 0 to 1.
        title (str): one line above it.
    """
    axes.imshow(np.asarray(picture), interpolation="bicubic")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9, fontweight="normal")
    return axes


def wrap(text: str, width: float, size: float) -> list[str]:
    """Lines of a text that fit into `width` inches at a font size in points."""
    characters = max(8, int(width * 72 / (size * 0.53)))
    return [line for part in text.split("\n") for line in textwrap.wrap(part, characters) or [""]]


def picture_grid(
    pictures: Sequence[Any],
    captions: Sequence[str | Sequence[str]] | None = None,
    columns: int = 3,
    width: float = WIDTH,
    size: float = 9.0,
    titles: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
) -> Figure:
    """Pictures in rows, each with its caption (or several) wrapped below it.

    Args:
        pictures (Sequence): PIL images or arrays (H, W, 3).
        captions (Sequence | None): for each picture a string, or a list of strings, one paragraph
            each.
        columns (int): pictures in a row.
        width (float): inches of the figure.
        size (float): font size of the captions in points.
        titles (Sequence[str] | None): a bold line above each picture.
        colours (Sequence[str] | None): colour of each picture's captions.

    Returns:
        Figure: one axes for each picture.

    Raises:
        ValueError: there are no pictures, or not one caption, title or colour for each.
    """
    given = {"captions": captions, "titles": titles, "colours": colours}
    for name, values in given.items():
        if values is not None and len(values) != len(pictures):
            raise ValueError(f"{name}: {len(values)} received for {len(pictures)} pictures")
    if not len(pictures):
        raise ValueError("pictures: none received, at least one expected")
    gap, title_height = 0.16, 0.24 if titles else 0.0
    cell = (width - gap * (columns - 1)) / columns  # inches
    arrays = [np.asarray(picture) for picture in pictures]
    texts = [_lines(caption, cell, size) for caption in captions or [""] * len(arrays)]
    rows = range(0, len(arrays), columns)
    high = [max(cell * a.shape[0] / a.shape[1] for a in arrays[r : r + columns]) for r in rows]
    line = size * LINE / 72
    text_height = [max(_height(t) for t in texts[r : r + columns]) * line + 0.1 for r in rows]
    total = sum(high) + sum(text_height) + (title_height + gap) * len(high) - gap
    figure = Figure(figsize=(width, total))
    top = total
    for row, first in enumerate(rows):
        top -= title_height
        for column in range(min(columns, len(arrays) - first)):
            index, left = first + column, column * (cell + gap)
            box = (left / width, (top - high[row]) / total, cell / width, high[row] / total)
            axes = figure.add_axes(box, anchor="N")
            show_picture(axes, arrays[index])
            if titles:
                axes.set_title(titles[index], fontsize=size, pad=4)
            colour = colours[index] if colours else PALETTE["ink"]
            low = top - cell * arrays[index].shape[0] / arrays[index].shape[1] - 0.06
            for text, down in zip(texts[index], _places(texts[index]), strict=True):
                place = (left / width, (low - down * line) / total)
                figure.text(*place, text, fontsize=size, va="top", color=colour)
        top -= high[row] + text_height[row] + gap
    return set_alt_text(figure, _grid_alt_text(captions, titles, len(arrays)))


def _places(lines: Sequence[str]) -> list[float]:
    """How far below the first each line stands, in lines; captions stand a little apart."""
    starts = [index > 0 and line.startswith(BULLET) for index, line in enumerate(lines)]
    return [index + 0.3 * sum(starts[: index + 1]) for index in range(len(lines))]


def _height(lines: Sequence[str]) -> float:
    return _places(lines)[-1] + 1 if lines else 0.0


def _lines(caption: str | Sequence[str], width: float, size: float) -> list[str]:
    """Wrapped lines; a list of captions becomes paragraphs that begin with a dot."""
    if isinstance(caption, str):
        return wrap(caption, width, size) if caption else []
    lines = []
    for text in caption:
        first, *rest = wrap(text, width - 0.15, size)
        lines += [BULLET + first, *("   " + line for line in rest)]
    return lines


def _grid_alt_text(captions: Any, titles: Any, count: int) -> str:
    parts = []
    for index in range(count):
        caption = captions[index] if captions else ""
        text = caption if isinstance(caption, str) else " / ".join(caption)
        parts.append(f"{titles[index]}: {text}" if titles else text)
    spoken = "; ".join(" ".join(part.split()) for part in parts if part)
    return f"{count} pictures" + (f": {spoken}" if spoken else "")
