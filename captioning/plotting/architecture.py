"""What happens between a picture file and a word, in figures: views, batches, layers, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from captioning.plotting.style import (
    CYCLE,
    PALETTE,
    WIDTH,
    new_figure,
    set_alt_text,
    show_picture,
    wrap,
)
from data_loader import IMAGENET_MEAN, IMAGENET_STD
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX, Vocabulary

SPECIAL_COLOURS = {
    PAD_IDX: PALETTE["faint"],
    START_IDX: "#bfe0c9",
    END_IDX: "#f3c3bd",
    UNK_IDX: "#f7e3a6",
}
WORD_COLOUR = "#d4e2f5"


def denormalise(images: Tensor) -> np.ndarray:
    """(.., 3, H, W) the encoder's input -> (.., H, W, 3) numbers from 0 to 1 to look at."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.cpu() * std + mean).clamp(0, 1).movedim(-3, -1).numpy()


def views_figure(rows: Sequence[Sequence[Any]], titles: Sequence[str]) -> Figure:
    """Several views of each picture: one picture a row, one kind of view a column.

    Args:
        rows (Sequence): for each picture its views: PIL images, arrays, or the encoder's input.
        titles (Sequence[str]): one for each column.
    """
    cell = WIDTH / len(titles)
    figure, axes = new_figure(len(rows), len(titles), height=cell * len(rows) * 0.98 + 0.3)
    for y, views in enumerate(rows):
        for x, view in enumerate(views):
            picture = denormalise(view) if isinstance(view, Tensor) else view
            show_picture(axes[y, x], picture, titles[x] if y == 0 else "")
    return set_alt_text(figure, f"{len(rows)} pictures, each as: " + ", ".join(titles))


def batch_figure(
    captions: Tensor, vocabulary: Vocabulary, title: str = "", rows: int = 12
) -> Figure:
    """A batch of captions as a table of words; special words and padding have their own colours.

    Args:
        captions (Tensor): (N, T) ids.
        vocabulary (Vocabulary): the words behind them.
        title (str): one line above it.
        rows (int): show the first so many captions.
    """
    ids = captions[:rows].tolist()
    length = captions.shape[1]
    figure, axes = new_figure(height=0.62 + 0.25 * len(ids))
    one = axes[0, 0]
    size = float(np.clip(118 / length, 4.6, 8))
    for y, row in enumerate(ids):
        for x, index in enumerate(row):
            colour = SPECIAL_COLOURS.get(index, WORD_COLOUR)
            one.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", lw=1.2))
            word = "·" if index == PAD_IDX else vocabulary.words[index]
            style = {"ha": "center", "va": "center", "fontsize": size}
            shown = word if len(word) < 10 else word[:8] + "…"
            one.text(x + 0.5, y + 0.5, shown, **style)
    one.set(xlim=(0, length), ylim=(len(ids), 0), title=title)
    one.set_xticks(np.arange(length) + 0.5, [str(t) for t in range(length)])
    one.set_yticks(np.arange(len(ids)) + 0.5, [str(n) for n in range(len(ids))])
    one.set(xlabel="time step t", ylabel="row n")
    one.grid(False)
    one.spines[["left", "bottom"]].set_visible(False)
    return set_alt_text(figure, f"A batch of {len(captions)} captions of length {length}. {title}")


def grid_figure(pictures: Sequence[Any], boxes: Tensor, marked: int | None = None) -> Figure:
    """The cells of the encoder's grid drawn over pictures.

    Args:
        pictures (Sequence): PIL images or arrays, as the encoder sees them.
        boxes (Tensor): (P, 4) left, top, right, bottom in 0..1.
        marked (int | None): a cell to fill, the region with this number.
    """
    columns = len(pictures)
    figure, axes = new_figure(1, columns, height=WIDTH / columns)
    for one, picture in zip(axes[0], pictures, strict=True):
        show_picture(one, picture)
        height, width = np.asarray(picture).shape[:2]
        for index, (left, top, right, bottom) in enumerate(boxes.tolist()):
            place = (left * width - 0.5, top * height - 0.5)
            size = ((right - left) * width, (bottom - top) * height)
            one.add_patch(Rectangle(place, *size, fill=False, edgecolor="white", lw=0.7, alpha=0.8))
            if index == marked:
                style = {"facecolor": PALETTE["yellow"], "alpha": 0.55, "edgecolor": "none"}
                one.add_patch(Rectangle(place, *size, **style))
    return set_alt_text(figure, f"{columns} pictures under the encoder's {len(boxes)} regions")


def maps_figure(picture: Any, maps: Mapping[str, Tensor], channels: int = 5) -> Figure:
    """Feature maps of several encoders for one picture: a row an encoder, a column a channel.

    Args:
        picture: as the encoder sees it.
        maps (Mapping[str, Tensor]): name to (F, h, w); the channels that vary most are shown.
        channels (int): number of them.
    """
    cell = WIDTH / (channels + 1)
    figure, axes = new_figure(len(maps), channels + 1, height=cell * len(maps) * 1.04 + 0.3)
    for row, (name, features) in zip(axes, maps.items(), strict=True):
        show_picture(row[0], picture)
        row[0].set_title(name, fontsize=9)
        chosen = features.flatten(1).std(1).topk(channels).indices
        for one, channel in zip(row[1:], chosen.tolist(), strict=True):
            one.imshow(features[channel].numpy(), cmap="magma", interpolation="nearest")
            one.set_axis_off()
            one.set_title(f"channel {channel}", fontsize=8, fontweight="normal")
    return set_alt_text(figure, "Feature maps of: " + ", ".join(maps))


def layers_figure(shapes: Mapping[str, tuple[int, int, int]]) -> Figure:
    """The shrinking grid and growing depth of a CNN, block by block.

    Args:
        shapes (Mapping): name of a block to the shape (F, h, w) after it.
    """
    figure, axes = new_figure(height=2.9)
    one = axes[0, 0]
    tallest = max(h for _, h, _ in shapes.values())
    x = 0.0
    for index, (name, (depth, height, width)) in enumerate(shapes.items()):
        thick, tall = 0.25 + np.log2(depth) * 0.16, (height / tallest) ** 0.6 * 4
        colour = CYCLE[index % len(CYCLE)]
        one.add_patch(Rectangle((x, -tall / 2), thick, tall, facecolor=colour, alpha=0.85))
        middle = x + thick / 2
        one.text(middle, 2.25, name, ha="center", fontsize=8.5, fontweight="bold")
        text = f"{depth}\n{height}×{width}"
        one.text(middle, -2.2, text, ha="center", va="top", fontsize=8, linespacing=1.4)
        x += thick + 0.62
    one.set(xlim=(-0.35, x - 0.3), ylim=(-3.3, 2.8))
    one.set_axis_off()
    spoken = ", ".join(f"{name} {f}x{h}x{w}" for name, (f, h, w) in shapes.items())
    return set_alt_text(figure, f"Channels and grid after each block: {spoken}")


def parameters_figure(models: Mapping[str, Mapping[str, int]]) -> Figure:
    """Parameters of models as one stacked bar each.

    Args:
        models (Mapping): name of a model to (name of a part to number of parameters).
    """
    figure, axes = new_figure(1, 1, height=0.2 + 0.9 * len(models))
    one = axes[0, 0]
    widest = max(sum(parts.values()) for parts in models.values())
    for y, (name, parts) in enumerate(models.items()):
        left = 0
        ordered = sorted(parts.items(), key=lambda item: -item[1])
        for index, (part, count) in enumerate(ordered):
            style = {"color": CYCLE[index % len(CYCLE)], "height": 0.36, "edgecolor": "white"}
            one.barh(y, count, left=left, **style)
            if count > 0.012 * widest * len(part):
                style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": "white"}
                one.text(left + count / 2, y, part, **style)
            left += count
        listed = " · ".join(f"{part} {count:,}" for part, count in ordered)
        one.text(
            0, y + 0.23, "\n".join(wrap(listed, WIDTH, 7.5)), fontsize=7, va="top", color="#6c6b7d"
        )
        one.text(0, y - 0.26, f"{name}: {left:,} parameters", fontsize=9, fontweight="bold")
    one.set(xlim=(0, widest * 1.01), ylim=(len(models) - 0.45, -0.5))
    one.set_axis_off()
    spoken = "; ".join(f"{n}: {sum(p.values()):,} parameters" for n, p in models.items())
    return set_alt_text(figure, spoken)


def three_vectors_figure(regions: Tensor, weights: Tensor, context: Tensor) -> Figure:
    """Attention over a few two-dimensional regions: the vectors, their weights, their mixture.

    Args:
        regions (Tensor): (P, 2).
        weights (Tensor): (P) that sum to one.
        context (Tensor): (2) the weighted mean.
    """
    figure, axes = new_figure(1, 2, height=3.0, width_ratios=[1.3, 1])
    one, two = axes[0]
    points = [*regions.tolist(), context.tolist()]
    names = [f"region {i + 1}" for i in range(len(regions))]
    colours = [*CYCLE[: len(regions)], PALETTE["ink"]]
    for point, name, colour in zip(points, [*names, "context"], colours, strict=True):
        arrow = {"arrowstyle": "-|>", "mutation_scale": 13, "color": colour, "shrinkB": 0}
        one.add_patch(FancyArrowPatch((0, 0), tuple(point), lw=2, **arrow))
        one.annotate(name, point, (6, 4), textcoords="offset points", color=colour)
    reach = max(abs(value) for point in points for value in point) * 1.25
    low = min(0.0, *(value for point in points for value in point)) * 1.25
    one.set(xlim=(low - 0.1, reach * 1.25), ylim=(low - 0.1, reach), title="Regions and context")
    one.set(xlabel="first number", ylabel="second number")
    two.bar(range(len(names)), weights.tolist(), color=colours[:-1], width=0.62)
    two.set_xticks(range(len(names)), names)
    two.set(title="Attention weights", ylim=(0, 1))
    two.grid(axis="x", visible=False)
    for place, weight in enumerate(weights.tolist()):
        two.text(place, weight + 0.02, f"{weight:.3f}", ha="center")
    spoken = ", ".join(f"{n} {w:.3f}" for n, w in zip(names, weights.tolist(), strict=True))
    return set_alt_text(figure, f"Attention over three vectors: {spoken}")


def overfit_figure(losses: Mapping[str, Sequence[float]], uniform: float) -> Figure:
    """Loss on one batch, step by step.

    Args:
        losses (Mapping): name of a model to its losses (nats a word).
        uniform (float): loss of a model that finds all words equally likely, ln V.
    """
    figure, axes = new_figure(height=2.9)
    one = axes[0, 0]
    for name, values in losses.items():
        one.plot(range(1, len(values) + 1), values, label=f"{name}: {values[-1]:.3f} at the end")
    one.axhline(uniform, color=PALETTE["grey"], lw=1.2, ls="--")
    style = {"textcoords": "offset points", "xytext": (0, 3), "ha": "right", "color": "#6c6b7d"}
    last = max(map(len, losses.values()))
    one.annotate(f"all words equally likely: ln V = {uniform:.2f}", (last, uniform), **style)
    one.set(xlabel="step", ylabel="loss (nats a word)", ylim=(0, uniform * 1.12))
    one.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
    spoken = ", ".join(f"{n} ends at {v[-1]:.3f}" for n, v in losses.items())
    return set_alt_text(figure, f"Loss on one batch against steps: {spoken}")
