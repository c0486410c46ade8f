"""What a data set holds, in figures: pictures with boxes, describers, words, counts, scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from captioning.plotting.style import (
    CYCLE,
    PALETTE,
    WIDTH,
    new_figure,
    picture_grid,
    set_alt_text,
    show_picture,
)
from vocabulary import Coverage, tokenize

INKWASH = LinearSegmentedColormap.from_list("inkwash", ["#f6f7fb", "#9dbde6", "#2f5f9f"])


def boxes_figure(
    pictures: Sequence[Any],
    instances: Sequence[Sequence[Mapping[str, Any]]],
    names: Mapping[int, str],
    columns: int = 3,
) -> Figure:
    """Pictures with the box, the outline and the name of every annotated thing.

    Args:
        pictures (Sequence): PIL images.
        instances (Sequence): for each picture its COCO annotations (`bbox`, `segmentation`,
            `category_id`).
        names (Mapping[int, str]): category id to name.
        columns (int): pictures in a row.
    """
    said = [", ".join(names[one["category_id"]] for one in some) for some in instances]
    figure = picture_grid(pictures, columns=columns)
    for axes, some in zip(figure.axes, instances, strict=True):
        labels: list[tuple[str, float, float]] = []
        for one in some:
            _draw_instance(axes, one, names, labels)
    return set_alt_text(figure, "Boxes and outlines of: " + "; ".join(said))


def _draw_instance(
    axes: Axes,
    one: Mapping[str, Any],
    names: Mapping[int, str],
    labels: list[tuple[str, float, float]],
) -> None:
    left, top, width, height = one["bbox"]
    colour = CYCLE[one["category_id"] % len(CYCLE)]
    polygons = one.get("segmentation") or []
    if isinstance(polygons, list):  # COCO stores crowds as run lengths, which stay boxes here
        for points in polygons:
            corners = np.asarray(points).reshape(-1, 2)
            axes.add_patch(Polygon(corners, fill=False, edgecolor=colour, lw=1.0, ls=":"))
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, lw=1.6))
    step = axes.get_ylim()[0] / 12
    place = max(top, step * 0.75)
    name = names[one["category_id"]]
    near = [n for n, x, y in labels if abs(left - x) < 4 * step and abs(place - y) < 1.6 * step]
    if name in near:  # one label for a group of the same kind
        return
    place += step * len(near)
    labels.append((name, left, place))
    box = {"facecolor": colour, "edgecolor": "none", "pad": 1.6}
    style = {"fontsize": 7.5, "color": "white", "va": "bottom", "fontweight": "bold", "bbox": box}
    axes.text(left + step * 0.12, place, name, clip_on=True, **style)


def agreement_figure(picture: Any, captions: Sequence[str]) -> Figure:
    """One picture, its captions, and which describer uses which word.

    Args:
        picture: PIL image.
        captions (Sequence[str]): what different people said of it.
    """
    tokens = [tokenize(caption) for caption in captions]
    counts = {word: sum(word in some for some in tokens) for some in tokens for word in some}
    words = sorted(counts, key=lambda word: -counts[word])
    figure, axes = new_figure(1, 2, height=2.7, width_ratios=[1, 3.1])
    show_picture(axes[0, 0], picture)
    table = axes[0, 1]
    said = np.array([[counts[w] if w in some else 0 for w in words] for some in tokens])
    table.imshow(said, cmap=INKWASH, vmin=0, vmax=len(captions), aspect="auto")
    table.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
    table.set_yticks(range(len(captions)), [f"describer {i + 1}" for i in range(len(captions))])
    table.set_xticks(np.arange(len(words) + 1) - 0.5, minor=True)
    table.set_yticks(np.arange(len(captions) + 1) - 0.5, minor=True)
    _white_lines(table)
    shared = sum(count == len(captions) for count in counts.values())
    title = f"{len(words)} different words, {shared} of them in all {len(captions)} captions"
    table.set_title(title)
    return set_alt_text(figure, f"{title}: {' / '.join(captions)}")


def _white_lines(axes: Axes) -> None:
    axes.grid(False)
    axes.grid(True, which="minor", color="white", linewidth=1.5)
    axes.set_axisbelow(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def overlap_histogram(same: Sequence[float], different: Sequence[float]) -> Figure:
    """How many words two captions share: of the same picture, of different pictures (0..1)."""
    figure, axes = new_figure(height=2.8)
    bins = np.linspace(0, 1, 26)
    given = (("of the same picture", same, "blue"), ("of different pictures", different, "orange"))
    for name, values, colour in given:
        weights = np.full(len(values), 1 / len(values))
        label = f"two captions {name} (mean {np.mean(values):.2f})"
        style = {"color": PALETTE[colour], "alpha": 0.65, "label": label}
        axes[0, 0].hist(values, bins, weights=weights, **style)
    axes[0, 0].set(xlabel="share of words in common", ylabel="share of pairs")
    axes[0, 0].grid(axis="x", visible=False)
    axes[0, 0].legend()
    return set_alt_text(figure, "Histogram of the words two captions have in common.")


def length_histogram(lengths: Sequence[int], max_length: int | None = None) -> Figure:
    """Words in a caption: how many captions have how many.

    Args:
        lengths (Sequence[int]): one number a caption.
        max_length (int | None): a line where longer captions are cut.
    """
    figure, axes = new_figure(height=2.7)
    numbers, counts = np.unique(lengths, return_counts=True)
    axes[0, 0].bar(numbers, counts / len(lengths), width=0.82, color=PALETTE["blue"])
    mean = float(np.mean(lengths))
    axes[0, 0].axvline(mean, color=PALETTE["ink"], lw=1.2)
    style = {"xytext": (5, -4), "textcoords": "offset points", "va": "top"}
    top = float((counts / len(lengths)).max()) * 1.12
    axes[0, 0].annotate(f"mean {mean:.1f}", (mean, top), **style)
    if max_length is not None:
        axes[0, 0].axvline(max_length + 0.5, color=PALETTE["red"], lw=1.2, ls="--")
        axes[0, 0].annotate(f"cut at {max_length}", (max_length + 0.5, top), **style)
    axes[0, 0].set(xlabel="words in a caption", ylabel="share of captions", ylim=(0, top))
    axes[0, 0].grid(axis="x", visible=False)
    return set_alt_text(figure, f"Histogram of caption lengths; mean {mean:.1f} words.")


def zipf_curve(counts: Mapping[str, int], labels: int = 9) -> Figure:
    """Count of each word against its rank, both on logarithmic axes, beside Zipf's law.

    Args:
        counts (Mapping[str, int]): word to count.
        labels (int): words written at their points, spread evenly over the logarithm of the rank.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ranks = np.arange(1, len(ordered) + 1)
    values = np.array([count for _, count in ordered])
    figure, axes = new_figure(height=3.3)
    one = axes[0, 0]
    one.loglog(ranks, values, color=PALETTE["blue"], label="words of this data set")
    zipf = values[0] / ranks
    label = "Zipf's law: count of the first word / rank"
    one.loglog(ranks, zipf, "--", color=PALETTE["grey"], lw=1.3, label=label)
    marked = np.unique(np.geomspace(1, len(ordered), labels).round().astype(int))
    for rank in marked:
        one.plot(rank, values[rank - 1], "o", color=PALETTE["orange"], ms=4.5)
        word = ordered[rank - 1][0]
        one.annotate(word, (rank, values[rank - 1]), (4, 5), textcoords="offset points")
    one.set(xlabel="rank of the word (1 = most frequent)", ylabel="count", ylim=(0.6, None))
    one.legend(loc="lower left")
    return set_alt_text(figure, "Word counts against rank on logarithmic axes, with Zipf's law.")


def coverage_curve(
    thresholds: Sequence[int],
    sizes: Sequence[int],
    coverages: Sequence[Coverage],
    chosen: int | None = None,
) -> Figure:
    """What a higher threshold costs and saves: words kept, running words and captions known.

    Args:
        thresholds (Sequence[int]): values of `min_count`.
        sizes (Sequence[int]): size of the vocabulary for each.
        coverages (Sequence[Coverage]): of unseen captions, for each.
        chosen (int | None): a line at this threshold.
    """
    figure, axes = new_figure(1, 2, height=2.9)
    axes[0, 0].plot(thresholds, sizes, "o-", color=PALETTE["purple"])
    axes[0, 0].set(title="Words in the vocabulary", xlabel="min_count", ylim=(0, None))
    lines = (
        ("running words known", [c.known_tokens for c in coverages], "blue"),
        ("captions without an unknown word", [c.known_captions for c in coverages], "green"),
    )
    for name, values, colour in lines:
        axes[0, 1].plot(thresholds, np.array(values) * 100, "o-", color=PALETTE[colour], label=name)
    axes[0, 1].set(title="Known in unseen captions, %", xlabel="min_count")
    axes[0, 1].legend(loc="lower left")
    for one in axes[0]:
        one.set_xscale("log")
        one.set_xticks(thresholds, [str(t) for t in thresholds])
        one.set_xticks([], minor=True)
        if chosen is not None:
            one.axvline(chosen, color=PALETTE["orange"], lw=1.3, ls="--", zorder=0)
    return set_alt_text(figure, "Vocabulary size and coverage against the threshold min_count.")


def count_bars(
    groups: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str] | None = None,
    top: int | None = None,
    height: float | None = None,
) -> Figure:
    """Horizontal bars, one panel a group, longest first.

    Args:
        groups (Mapping): title of a panel to (name to number).
        colours (Mapping[str, str] | None): name to colour of its bar, where it has one.
        top (int | None): keep the so many largest of each group.
        height (float | None): inches; by default 0.22 a bar.
    """
    rows = {
        title: sorted(counts.items(), key=lambda item: -item[1])[:top]
        for title, counts in groups.items()
    }
    longest = max(map(len, rows.values()))
    figure, axes = new_figure(1, len(rows), height=height or 0.75 + 0.22 * longest)
    for index, (one, (title, items)) in enumerate(zip(axes[0], rows.items(), strict=True)):
        names, values = [name for name, _ in items], [value for _, value in items]
        known = colours or {}
        shades = [known.get(name, CYCLE[index % len(CYCLE)]) for name in names]
        one.barh(range(len(names)), values, color=shades, height=0.74)
        one.set_yticks(range(len(names)), names)
        one.set_ylim(longest - 0.4, -0.6)
        one.grid(axis="y", visible=False)
        one.set_title(title)
        for place, value in enumerate(values):
            text = f" {value:,}" if isinstance(value, int | np.integer) else f" {value:.3f}"
            one.text(value, place, text, va="center", fontsize=8, color="#6c6b7d")
        one.set_xlim(0, max(values) * 1.17)
    spoken = (f"{t}: " + ", ".join(f"{n} {v:g}" for n, v in items) for t, items in rows.items())
    return set_alt_text(figure, "Bars. " + "; ".join(spoken))


def score_figure(
    per_image: Sequence[float], references: Mapping[str, float], name: str = "CIDEr"
) -> Figure:
    """Scores of single pictures as a histogram, beside overall scores as bars.

    Args:
        per_image (Sequence[float]): the human score of each picture.
        references (Mapping[str, float]): name of a describer to its overall score.
        name (str): of the metric.
    """
    figure, axes = new_figure(1, 2, height=2.7, width_ratios=[1.25, 1], width=WIDTH)
    one, two = axes[0]
    one.hist(per_image, 24, color=PALETTE["blue"], alpha=0.85)
    mean = float(np.mean(per_image))
    one.axvline(mean, color=PALETTE["ink"], lw=1.2)
    top = one.get_ylim()[1] * 1.1
    one.set_ylim(0, top)
    style = {"xytext": (5, -4), "textcoords": "offset points", "va": "top"}
    one.annotate(f"mean {mean:.2f}", (mean, top), **style)
    one.set(title=f"Human {name} of each picture", xlabel=name, ylabel="pictures")
    one.grid(axis="x", visible=False)
    names, values = list(references), list(references.values())
    two.barh(range(len(names)), values, color=CYCLE[: len(names)], height=0.6)
    two.set_yticks(range(len(names)), names)
    two.invert_yaxis()
    two.grid(axis="y", visible=False)
    two.set(title=f"{name} of the whole split", xlim=(0, max([*values, 0.01]) * 1.2))
    for place, value in enumerate(values):
        two.text(value, place, f" {value:.3f}", va="center", fontsize=8.5)
    spoken = ", ".join(f"{n} {v:.3f}" for n, v in references.items())
    return set_alt_text(figure, f"Histogram of the human {name} of each picture; {spoken}.")
