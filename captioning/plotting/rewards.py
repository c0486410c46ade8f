"""One caption under the glass: CIDEr-D by hand, reward and advantage, the push on every word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from captioning.plotting.pages import (
    DOWN,
    SOFT,
    UP,
    check_equal,
    flow,
    new_page,
    place_picture,
    write_words,
)
from captioning.plotting.style import LINE, PALETTE, WIDTH, new_figure, set_alt_text

SHADES = ["#e8893a", "#f8d6b4", "white", "#bcd3f2", "#5a94dd"]
PUSH = LinearSegmentedColormap.from_list("push", SHADES, N=257)  # odd: zero is white
MATCH = LinearSegmentedColormap.from_list("match", ["#f6f7fb", "#9dbde6", "#2f5f9f"])
FULL_MATCH = 0.35  # part of a cosine that gets the darkest cell

# ------------------------------------------------------------------------------ samples in a table

SIZE = 9.0  # points, of the samples
SAMPLE, SAMPLE_WIDTH = 2.3, 3.1  # inches: where the samples begin, how wide they are
COLUMNS = (5.85, 6.55, 7.35)  # inches: middles of reward, baseline, advantage
PUSHED = 7.9  # inches: where the push begins in words


def samples_table(
    picture: Any,
    captions: Sequence[str],
    rewards: Sequence[float],
    baselines: Sequence[float],
    title: str = "",
) -> Figure:
    """The samples of one picture, best first: reward, baseline, advantage, and what follows.

    Args:
        picture: PIL image or array (H, W, 3).
        captions (Sequence[str]): S samples of the picture.
        rewards (Sequence[float]): one a sample.
        baselines (Sequence[float]): what each is compared to.
        title (str): a line above the table.

    Returns:
        Figure: the picture and, beside it, the table; the advantage on blue ground where it is
        above zero, on orange where below, on white at zero.

    Raises:
        ValueError: not one caption, reward and baseline for each sample.
    """
    check_equal(captions=captions, rewards=rewards, baselines=baselines)
    advantages = np.subtract(rewards, baselines)
    order = np.argsort(-advantages, kind="stable")
    lines = [len(flow(captions[index].split(), SAMPLE_WIDTH, SIZE)) for index in order]
    heights = [0.19 + count * SIZE * LINE / 72 for count in lines]
    top = 0.62 if title else 0.34
    shape = np.asarray(picture).shape
    figure, axes = new_page(top + max(sum(heights) + 0.34, 2.0 * shape[0] / shape[1]))
    place_picture(axes, picture, 0.0, top, 2.0)
    _table_head(axes, top, title)
    scale = max(1e-9, float(np.abs(advantages).max()))
    for index, high in zip(order, heights, strict=True):
        numbers = (rewards[index], baselines[index], advantages[index])
        _sample_row(axes, captions[index], numbers, (top, high), scale)
        top += high
    _table_foot(axes, top, (np.mean(rewards), np.mean(baselines), advantages.mean()))
    spoken = [
        f"{captions[i]} (reward {rewards[i]:.2f}, baseline {baselines[i]:.2f}, advantage "
        f"{signed(advantages[i])}: {push_of(advantages[i])})"
        for i in order
    ]
    return set_alt_text(figure, f"{len(captions)} samples of a picture: " + "; ".join(spoken))


def signed(value: float, sign: str = "+") -> str:
    """Two decimals with a true minus; `sign` "+" also marks what is above zero."""
    text = f"{value:{sign}.2f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def push_of(advantage: float) -> str:
    """What a step does to a sample with this advantage, in words."""
    shown = round(float(advantage), 2)
    return "no push" if shown == 0 else "more likely" if shown > 0 else "less likely"


def _table_head(axes: Axes, top: float, title: str) -> None:
    axes.text(SAMPLE, 0.2, title, fontsize=10.5, fontweight="bold")
    style = {"fontsize": 8, "color": SOFT}
    axes.text(SAMPLE, top - 0.1, "sample", **style)
    for x, name in zip(COLUMNS, ("reward", "baseline", "advantage"), strict=True):
        axes.text(x, top - 0.1, name, ha="center", **style)
    axes.text(PUSHED, top - 0.1, "a step makes it", **style)


def _sample_row(
    axes: Axes,
    caption: str,
    numbers: tuple[float, float, float],
    place: tuple[float, float],
    scale: float,
) -> None:
    """Caption, numbers, coloured advantage and the push in words; a line above."""
    top, high = place
    middle = top + high / 2
    axes.plot((SAMPLE, WIDTH), (top, top), color=PALETTE["faint"], linewidth=0.9)
    write_words(axes, caption.split(), (SAMPLE, top + 0.095), SAMPLE_WIDTH, SIZE)
    colour = PUSH(0.5 + 0.5 * numbers[2] / scale)
    corner = (COLUMNS[2] - 0.42, top + 0.03)
    axes.add_patch(Rectangle(corner, 0.84, high - 0.06, facecolor=colour, linewidth=0))
    style = {"ha": "center", "va": "center", "fontsize": SIZE}
    for x, value in zip(COLUMNS[:2], numbers, strict=False):
        axes.text(x, middle, signed(value, ""), **style)
    axes.text(COLUMNS[2], middle, signed(numbers[2]), fontweight="bold", **style)
    push = push_of(numbers[2])
    arrow = {"more likely": "▲ ", "less likely": "▼ "}.get(push, "")
    style = {"fontsize": SIZE, "color": push_colour(push), "fontweight": "bold", "va": "center"}
    axes.text(PUSHED, middle, arrow + push, **style)


def push_colour(push: str) -> str:
    """The colour of a text that says what `push_of` says."""
    return {"more likely": UP, "less likely": DOWN}.get(push, SOFT)


def _table_foot(axes: Axes, top: float, means: Sequence[float]) -> None:
    axes.plot((SAMPLE, WIDTH), (top, top), color="#b9b8c6", linewidth=0.9)
    style = {"fontsize": SIZE, "color": SOFT}
    axes.text(SAMPLE, top + 0.22, "mean", **style)
    for x, value, sign in zip(COLUMNS, means, ("", "", "+"), strict=True):
        axes.text(x, top + 0.22, signed(value, sign), ha="center", **style)


# ----------------------------------------------------------------------------------- push on a word


def word_pushes(samples: Sequence[Mapping[str, Any]]) -> Figure:
    """What one step of descent does to the logit of every word of a sample.

    Args:
        samples (Sequence[Mapping]): one panel each, with `words` (T, `<end>` included),
            `gradients` (T: d loss / d logit of the word that was said), `probabilities` (T) and
            `advantage`.

    Returns:
        Figure: one axes a sample, all on one scale; a bar is minus the gradient: upwards, the word
        becomes more likely.
    """
    figure, rows = new_figure(len(samples), 1, height=0.5 + 1.7 * len(samples), sharey=True)
    spoken = []
    for axes, sample in zip(rows[:, 0], samples, strict=True):
        pushes = -np.asarray(sample["gradients"], dtype=float)
        axes.bar(range(len(pushes)), pushes, 0.62, color=[UP if p > 0 else DOWN for p in pushes])
        axes.axhline(0, color=PALETTE["ink"], linewidth=0.9)
        pairs = list(zip(sample["words"], sample["probabilities"], strict=True))
        ticks = [f"{word}\n{probability:.2f}" for word, probability in pairs]
        axes.set_xticks(range(len(ticks)), ticks, fontsize=8.5)
        axes.tick_params(axis="x", colors=PALETTE["ink"])
        axes.set_xlim(-0.6, len(ticks) - 0.4)
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.12)
        push = push_of(sample["advantage"])
        told = push if push == "no push" else f"this sample becomes {push}"
        title = f"advantage {signed(sample['advantage'])}: {told}"
        axes.set_title(title, loc="left", color=push_colour(push))
        told = (f"{word} {value:+.2g}" for (word, _), value in zip(pairs, pushes, strict=True))
        spoken.append(f"{title}: {', '.join(told)}")
    rows[-1, 0].set_xlabel("word, and the probability with which it was drawn", fontsize=8.5)
    figure.supylabel("push: − d loss / d logit", fontsize=9, color=PALETTE["ink"])
    return set_alt_text(figure, "Push of a step on each word. " + "; ".join(spoken))


# ----------------------------------------------------------------------------------- CIDEr by hand

ORDERS = (1, 2, 3, 4)  # CIDEr looks at runs of one to four words
NAMES = ("single words", "pairs", "runs of three", "runs of four")
HEAD, ROW = 0.44, 0.185  # inches: above the n-grams of an order, of each n-gram
PANEL = 4.62  # inches from one order to the next beside it
NUMBERS = (2.02, 2.36, 2.8)  # inches in a panel: right ends of count, idf, weight
CELLS, CELLS_WIDTH = 2.92, 1.46  # inches in a panel: where the cells of the references begin


def cider_by_hand(
    caption: str,
    references: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    length_factors: Sequence[float],
) -> Figure:
    """CIDEr-D of one caption, nothing left out: each n-gram's weight and where it is matched.

    Args:
        caption (str): what is scored.
        references (Sequence[str]): R captions of people.
        rows (Sequence[Mapping]): one for each different n-gram of the caption, with `order` (1..4),
            `ngram` (its words, one string), `count`, `idf`, `weight` (count times idf) and
            `matches`: for each reference what the n-gram adds to the cosine,
            min(weight, reference's weight) x reference's weight / (norm x reference's norm).
        length_factors (Sequence[float]): for each reference the Gaussian of the difference in
            length, 0..1.

    Returns:
        Figure: the captions, then a panel for each order; below its n-grams stand the sums of the
        cells, the length factors, and the similarities to the references.

    Raises:
        ValueError: not one length factor for each reference.
    """
    check_equal(references=references, length_factors=length_factors)
    factors = np.asarray(length_factors, dtype=float)
    groups = [[row for row in rows if row["order"] == order] for order in ORDERS]
    cosines = np.zeros((len(ORDERS), len(factors)))
    for index, group in enumerate(groups):
        cosines[index] += sum(np.asarray(row["matches"], dtype=float) for row in group)
    similarities = cosines * factors
    told = f"10 × mean of the {similarities.size} similarities = {10 * similarities.mean():.2f}"
    start = 0.55 + 0.19 * len(references)
    heights = [HEAD + ROW * (len(group) + 3) + 0.22 for group in groups]
    highest = max(heights[:2])
    figure, axes = new_page(start + highest + max(heights[2:]) - 0.15)
    _write_captions(axes, caption, references, f"CIDEr-D = {told}")
    largest = max((row["weight"] for row in rows), default=0.0) or 1.0
    for index, group in enumerate(groups):
        place = (PANEL * (index % 2), start + highest * (index // 2))
        _draw_order(axes, ORDERS[index], group, place, largest)
        foot = (place[0], place[1] + HEAD + ROW * len(group))
        _order_foot(axes, cosines[index], factors, foot)
    means = zip(ORDERS, similarities.mean(axis=1), strict=True)
    spoken = ", ".join(f"n = {order}: {mean:.2f}" for order, mean in means)
    return set_alt_text(figure, f"CIDEr-D of “{caption}”: mean similarity {spoken}; {told}")


def _write_captions(axes: Axes, caption: str, references: Sequence[str], told: str) -> None:
    axes.text(0, 0.17, caption, fontsize=10.5, fontweight="bold")
    axes.text(WIDTH, 0.17, told, fontsize=9.5, ha="right", color=UP, fontweight="bold")
    for number, reference in enumerate(references, start=1):
        base = 0.24 + 0.19 * number
        axes.text(0.0, base, str(number), fontsize=8, color=SOFT)
        axes.text(0.2, base, reference, fontsize=8)


def _draw_order(
    axes: Axes,
    order: int,
    rows: Sequence[Mapping[str, Any]],
    place: tuple[float, float],
    largest: float,
) -> None:
    """Heading and n-grams of one order."""
    left, top = place
    title = f"n = {order} · {NAMES[order - 1]}"
    axes.text(left, top + 0.16, title, fontsize=9, fontweight="bold")
    style = {"fontsize": 7, "color": SOFT, "ha": "right"}
    base = top + HEAD - 0.06
    for x, name in zip(NUMBERS, ("count", "idf", "weight"), strict=True):
        axes.text(left + x, base, name, **style)
    right = left + CELLS + CELLS_WIDTH
    axes.text(right, base - 0.14, "adds to the cosine with reference", **style)
    count = len(rows[0]["matches"]) if rows else 0
    for number in range(count):
        middle = left + CELLS + CELLS_WIDTH * (number + 0.5) / count
        axes.text(middle, base, str(number + 1), **(style | {"ha": "center"}))
    for number, row in enumerate(rows):
        _draw_ngram(axes, row, (left, top + HEAD + ROW * number), largest)


def _draw_ngram(
    axes: Axes, row: Mapping[str, Any], place: tuple[float, float], largest: float
) -> None:
    """The n-gram, its numbers (the weight with a bar behind it), and what each reference gives."""
    left, top = place
    base = top + 0.68 * ROW
    colour = PALETTE["ink"] if any(row["matches"]) else SOFT
    axes.text(left, base, row["ngram"], fontsize=7.6, color=colour)
    bar = 0.42 * row["weight"] / largest
    corner = (left + NUMBERS[2] + 0.03 - bar, top + 0.1 * ROW)
    axes.add_patch(Rectangle(corner, bar, 0.8 * ROW, facecolor=PALETTE["faint"], linewidth=0))
    style = {"fontsize": 7.6, "color": colour, "ha": "right"}
    shown = (str(row["count"]), f"{row['idf']:.1f}", f"{row['weight']:.1f}")
    for x, text in zip(NUMBERS, shown, strict=True):
        axes.text(left + x, base, text, **style)
    wide = CELLS_WIDTH / len(row["matches"])
    for number, match in enumerate(row["matches"]):
        corner = (left + CELLS + wide * number + 0.01, top + 0.01)
        shade = MATCH(min(1.0, match / FULL_MATCH))
        axes.add_patch(Rectangle(corner, wide - 0.02, ROW - 0.02, facecolor=shade, linewidth=0))
        if match >= 0.005:
            dark = "white" if match > 0.6 * FULL_MATCH else PALETTE["ink"]
            style = {"fontsize": 7, "ha": "center", "color": dark}
            axes.text(corner[0] + wide / 2 - 0.01, base, short(match), **style)


def short(share: float) -> str:
    """Two decimals without the zero before the point: .25, 1.00."""
    return f"{share:.2f}".removeprefix("0")


def _order_foot(
    axes: Axes, cosines: np.ndarray, factors: np.ndarray, place: tuple[float, float]
) -> None:
    """Sums of the columns, the length factors, and their product."""
    left, top = place
    ends = (left, left + CELLS + CELLS_WIDTH)
    axes.plot(ends, (top + 0.02, top + 0.02), color="#b9b8c6", linewidth=0.8)
    rows = (
        ("sum, the clipped cosine", cosines, "normal", SOFT),
        ("× length factor", factors, "normal", SOFT),
        ("= similarity", cosines * factors, "bold", UP),
    )
    wide = CELLS_WIDTH / len(factors)
    for number, (name, values, weight, colour) in enumerate(rows):
        base = top + 0.04 + ROW * (number + 0.68)
        style = {"fontsize": 7.4, "fontweight": weight, "color": colour}
        axes.text(left + NUMBERS[2], base, name, ha="right", **style)
        for column, value in enumerate(values):
            middle = left + CELLS + wide * (column + 0.5)
            axes.text(middle, base, short(value), ha="center", **style)
