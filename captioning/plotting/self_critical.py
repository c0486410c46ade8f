"""Charts of self-critical training: a live one, runs compared, lengths before and after.

`LiveSelfCritical` is given to `train` as its two callbacks and redraws one display in place. Below
each of its titles stands what is normal, since "the reward is negative, is that a bug?" is what
people ask most. What happens to a single caption is drawn in `rewards.py`, captions before and
after in `pages.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captioning.plotting.pages import SOFT
from captioning.plotting.style import CYCLE, PALETTE, WIDTH, new_figure, set_alt_text
from captioning.plotting.training import LiveDisplay, caption_progress, draw_epochs, human_line

# What the history's numbers are called on an axis: title, unit. Shares are drawn in percent.
QUANTITIES = {
    "reward": ("Reward of the samples", "reward"),
    "baseline": ("Baseline", "reward"),
    "advantage_std": ("Spread of the advantages", "reward"),
    "entropy": ("Entropy", "nats a word"),
    "words": ("Length", "words a caption"),
    "ended": ("Captions that end", "%"),
    "bad_endings": ("Bad endings, “… on a”", "%"),
    "repetition": ("Repetition", "%"),
    "distinct": ("Different samples", "captions a picture"),
    "grad_norm": ("Norm of the gradient", ""),
    "loss": ("Loss", ""),
    "words_per_second": ("Speed", "words a second"),
    "CIDEr": ("CIDEr, running freely", ""),
}
SHARES = ("ended", "bad_endings", "repetition")
BASELINES = {
    "leave_one_out": "baseline (the mean of the others, so the same)",
    "greedy": "baseline (the greedy caption)",
    "beam": "baseline (the beam's caption)",
}

# ---------------------------------------------------------------------------------------- one run


def self_critical_curves(
    steps: Sequence[Mapping[str, Any]],
    epochs: Sequence[Mapping[str, Any]] = (),
    human: float | None = None,
    human_words: float | None = None,
    baseline: str = "",
    title: str = "",
) -> Figure:
    """The health of a self-critical run on one page, each panel with what is normal.

    Args:
        steps (Sequence[Mapping]): the log's rows of kind "step", with `step`, `reward`, `baseline`,
            `advantage_std`, `entropy`, `words`, `ended`, `bad_endings`, `repetition`, `distinct`.
        epochs (Sequence[Mapping]): rows of kind "epoch", with `epoch` (0 is the starting model) and
            `CIDEr`.
        human (float | None): CIDEr of people, drawn as a line.
        human_words (float | None): mean length of people's captions, drawn as a line.
        baseline (str): the setting `self_critical.baseline`; "none" draws no baseline.
        title (str): a line above the reward.

    Returns:
        Figure: axes reward, CIDEr, entropy, length, endings, in this order.
    """
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    figure.get_layout_engine().set(hspace=0.07, wspace=0.04)
    upper, lower = ["reward"] * 4 + ["CIDEr"] * 2, ["entropy"] * 2 + ["words"] * 2 + ["ends"] * 2
    axes = figure.subplot_mosaic([upper, lower])
    _draw_reward(axes["reward"], steps, baseline, title)
    _draw_scores(axes["CIDEr"], epochs, human)
    _draw_entropy(axes["entropy"], steps)
    _draw_length(axes["words"], steps, human_words)
    _draw_endings(axes["ends"], steps)
    for name in ("reward", "entropy", "words", "ends"):
        axes[name].set_xlabel("step")
        axes[name].set_xlim(0, max((row["step"] for row in steps), default=0) + 1)
        if not steps:
            axes[name].set(xticks=[], yticks=[])
    return set_alt_text(figure, _spoken(steps, epochs, human))


def _spoken(steps: Sequence[Mapping], epochs: Sequence[Mapping], human: float | None) -> str:
    if not steps:
        return "Self-critical training: no step yet"
    first, last = _ends(steps, "reward")
    parts = [f"Self-critical training: reward of the samples {first:.2f} at first, now {last:.2f}"]
    if epochs:
        best = max(epoch["CIDEr"] for epoch in epochs)
        start = f"CIDEr {epochs[0]['CIDEr']:.2f} after epoch {epochs[0]['epoch']}"
        parts.append(f"{start}, best {best:.2f}")
    if human is not None:
        parts.append(f"people {human:.2f}")
    parts.append("entropy {:.2f}, now {:.2f}".format(*_ends(steps, "entropy")))
    parts.append("length {:.1f} words, now {:.1f}".format(*_ends(steps, "words")))
    parts.append("bad endings {:.0%}, now {:.0%}".format(*_ends(steps, "bad_endings")))
    return "; ".join(parts)


def _ends(steps: Sequence[Mapping], key: str) -> tuple[float, float]:
    """The means of the first and of the last steps of a quantity."""
    values = [row[key] for row in steps]
    count = window_of(values)
    return float(np.mean(values[:count])), float(np.mean(values[-count:]))


def window_of(values: Sequence[float]) -> int:
    """Steps that a curve is averaged over: a tenth of the run, at most 25."""
    return max(1, min(25, len(values) // 10))


def centred_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean over about `window` values around each (fewer at both ends), so that nothing lags."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=float)]))
    places = np.arange(len(values))
    first = np.maximum(0, places - window // 2)
    last = np.minimum(len(values), places + window // 2 + 1)
    return (sums[last] - sums[first]) / (last - first)


def draw_curve(
    axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str = ""
) -> None:
    """A running mean, and behind it, faintly, each step."""
    axes.plot(x, y, color=colour, alpha=0.25, linewidth=1)
    axes.plot(x, centred_mean(y, window_of(y)), color=colour, label=label or None)


def name_panel(axes: Axes, title: str, normal: str) -> None:
    """A title and, below it in grey, what to expect."""
    axes.set_title(title, loc="left", pad=21)
    place = {"xytext": (0, 7), "textcoords": "offset points", "xycoords": "axes fraction"}
    axes.annotate(normal, (0, 1), fontsize=8, color=SOFT, va="bottom", **place)


def _draw_reward(axes: Axes, steps: Sequence[Mapping], baseline: str, title: str) -> None:
    draw_curve(axes, *_points(steps, "reward"), PALETTE["blue"], label="samples")
    if baseline != "none":
        x, y = _points(steps, "baseline")
        label = BASELINES.get(baseline, "baseline")
        dashed = {"color": PALETTE["orange"], "linestyle": (0, (3, 2)), "label": label}
        axes.plot(x, centred_mean(y, window_of(y)), **dashed)
    normal = "normal: rises fast, then slowly; jumps from batch to batch"
    name_panel(axes, title or "Reward", normal)
    axes.set_ylabel("reward")
    axes.margins(y=0.12)
    if steps:
        axes.legend(loc="lower right", fontsize=8.5)
        first, last = _ends(steps, "advantage_std")
        text = f"spread of the advantages {first:.2f} at first, now {last:.2f}"
        style = {"fontsize": 8.5, "color": PALETTE["blue"], "transform": axes.transAxes}
        axes.text(0.015, 0.95, text, va="top", **style)


def _draw_scores(axes: Axes, epochs: Sequence[Mapping], human: float | None) -> None:
    draw_epochs(axes, epochs, human)
    known = [*(epoch["CIDEr"] for epoch in epochs), *([] if human is None else [human])]
    low, high = min(known, default=0), max(known, default=1)
    margin = 0.2 * (high - low) + 0.02
    axes.set_ylim(max(0, low - margin), high + margin)
    last = max((epoch["epoch"] for epoch in epochs), default=0)
    axes.set_xlim(-0.5, max(1, last) + 0.5)
    if epochs and epochs[0]["epoch"] == 0:
        start = epochs[0]["CIDEr"]
        axes.axhline(start, color=PALETTE["green"], linewidth=1, linestyle=":")
        style = {"fontsize": 8.5, "color": PALETTE["green"], "ha": "right", "va": "bottom"}
        axes.text(0.99, start, f"start {start:.2f}", transform=axes.get_yaxis_transform(), **style)
    name_panel(axes, "CIDEr, running freely", "normal: above the start after an epoch")


def _draw_entropy(axes: Axes, steps: Sequence[Mapping]) -> None:
    draw_curve(axes, *_points(steps, "entropy"), PALETTE["purple"])
    axes.set_ylim(0, 1.1 * max([row["entropy"] for row in steps], default=1))
    name_panel(axes, "Entropy, nats a word", "normal: falls, then stays well above 0")
    if steps:
        text = f"{_ends(steps, 'distinct')[1]:.1f} different samples a picture"
        style = {"fontsize": 8.5, "color": PALETTE["purple"], "transform": axes.transAxes}
        axes.text(0.03, 0.05, text, **style)


def _draw_length(axes: Axes, steps: Sequence[Mapping], human_words: float | None) -> None:
    draw_curve(axes, *_points(steps, "words"), PALETTE["blue"])
    known = [row["words"] for row in steps] + ([] if human_words is None else [human_words])
    if known:
        margin = max(1.0, 0.15 * (max(known) - min(known)))
        axes.set_ylim(max(0, min(known) - margin), max(known) + margin)
    if human_words is not None:
        human_line(axes, human_words, horizontal=True)
    name_panel(axes, "Length, words", "normal: moves at first, then settles")


def _draw_endings(axes: Axes, steps: Sequence[Mapping]) -> None:
    sides = (
        ("ended", "ends in <end>", "green"),
        ("bad_endings", "ends in “a”, “on”, …", "red"),
        ("repetition", "repeats itself", "grey"),
    )
    for key, label, colour in sides:
        x, y = _points(steps, key)
        axes.plot(x, 100 * centred_mean(y, window_of(y)), color=PALETTE[colour], label=label)
    axes.set_ylim(-4, 104)
    if steps:
        axes.legend(loc="center", fontsize=8.5, labelspacing=0.3)
    name_panel(axes, "Endings, % of samples", "normal: green near 100, the others near 0")


def _points(rows: Sequence[Mapping], key: str, x: str = "step") -> tuple[list, list]:
    return [row[x] for row in rows], [row[key] for row in rows]


class LiveSelfCritical:
    """A chart, and pictures with captions, that follow a run; give both methods to `train`.

    Args:
        pictures (Sequence): the first validation pictures, to be shown with their captions.
        human (float | None): CIDEr of people, drawn as a line.
        human_words (float | None): mean length of people's captions, drawn as a line.
        seconds (float): least time between two drawings.

    `steps` and `epochs` hold what was drawn: the rows of the log.
    """

    def __init__(
        self,
        pictures: Sequence[Any] = (),
        human: float | None = None,
        human_words: float | None = None,
        seconds: float = 3.0,
    ) -> None:
        self.pictures, self.human, self.human_words = list(pictures), human, human_words
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.title = self.baseline = ""
        self._display = LiveDisplay(seconds)

    def on_step(self, run: Any, row: Mapping[str, Any]) -> None:
        """Note the row of a step; draw when the last drawing is old enough."""
        self._display.note_step(run)
        self.baseline = run.experiment.self_critical.baseline
        self.steps.append({"step": run.step, **row})
        if self._display.is_due():
            self._draw(run)

    def on_epoch(self, run: Any, row: Mapping[str, Any]) -> None:
        """Note the validation scores of an epoch (0: of the starting model), and draw."""
        self.epochs.append({"epoch": run.epoch, **row})
        self._draw(run)
        if self.pictures:
            self._display.show("pictures", caption_progress(self.pictures, self.epochs))

    def figure(self) -> Figure:
        """The chart as it is now."""
        given = (self.human, self.human_words, self.baseline, self.title)
        return self_critical_curves(self.steps, self.epochs, *given)

    def _draw(self, run: Any) -> None:
        speed = [row["words_per_second"] for row in self.steps[-25:]]
        spoken = f" · {np.median(speed):,.0f} words/s" if speed else ""
        self.title = f"Reward · {self._display.headline(run)}{spoken}"
        self._display.show("chart", self.figure())


# ------------------------------------------------------------------------------------ several runs


def compare_runs(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    keys: str | Sequence[str],
    human: Mapping[str, float] | None = None,
    window: int | None = None,
    height: float = 2.9,
) -> Figure:
    """Several runs' curves, one panel for each quantity, named where they end in the last.

    Args:
        histories (Mapping): name to the rows of its log (`history.read_history`).
        keys (str | Sequence[str]): quantities, e.g. "reward" or ["reward", "bad_endings"]; one that
            the steps do not have is taken from the epochs.
        human (Mapping[str, float] | None): quantity to the value of people, drawn as a line.
        window (int | None): steps a curve is averaged over; None: a tenth of the run, at most 25.
        height (float): inches.

    Returns:
        Figure: one axes for each key.

    Raises:
        ValueError: no run has the quantity.
    """
    keys = [keys] if isinstance(keys, str) else list(keys)
    figure, (row,) = new_figure(1, len(keys), height=height)
    spoken = []
    for axes, key in zip(row, keys, strict=True):
        curves = {name: _curve(rows, key) for name, rows in histories.items()}
        if not any(values for _, values, _ in curves.values()):
            raise ValueError(f"keys: {key!r} received, a quantity of the histories expected")
        ends = _draw_runs(axes, key, curves, window)
        if human and key in human:
            human_line(axes, human[key], horizontal=True)
        title, unit = QUANTITIES.get(key, (key, ""))
        axes.set(title=title, ylabel=unit)
        if axes is row[-1]:
            name_ends(axes, ends)
        ended = ", ".join(f"{name} {value:.3g}" for name, (_, value) in ends.items())
        spoken.append(f"{title}{f' ({unit})' if unit else ''}: in the end {ended}")
    return set_alt_text(figure, "Runs compared. " + "; ".join(spoken))


def _curve(rows: Sequence[Mapping], key: str) -> tuple[list, list, str]:
    """Numbers of the steps, values, and "step"; or the same of the epochs."""
    steps = [row for row in rows if row["kind"] == "step" and key in row]
    epochs = [row for row in rows if row["kind"] == "epoch" and key in row]
    kind = "step" if steps else "epoch"
    x, y = _points(steps or epochs, key, kind)
    return x, [100 * value for value in y] if key in SHARES else y, kind


def _draw_runs(
    axes: Axes, key: str, curves: Mapping[str, tuple[list, list, str]], window: int | None
) -> dict[str, tuple[float, float]]:
    """One line a run; returns where each ends."""
    ends = {}
    for (name, (x, y, kind)), colour in zip(curves.items(), CYCLE, strict=False):
        if not y:
            continue
        by_epoch = kind == "epoch"
        values = y if by_epoch else centred_mean(y, window_of(y) if window is None else window)
        shape = "o-" if by_epoch else "-"
        axes.plot(x, values, shape, color=colour, label=name)
        ends[name] = (x[-1], float(values[-1]))
        axes.set_xlabel(kind)
        if by_epoch:
            axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.12)
    return ends


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Names to the right of where curves end, moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = 0.085 * (high - low)
    names = sorted(ends, key=lambda name: ends[name][1])
    places = np.array([ends[name][1] for name in names])
    for _ in range(100):
        lack = np.maximum(0, gap - np.diff(places)) / 2
        if lack.max(initial=0) < 0.01 * gap:
            break
        places[:-1] -= lack
        places[1:] += lack
    right = max(x for x, _ in ends.values())
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    for name, place in zip(names, places, strict=True):
        style = {"color": colours[name], "fontsize": 8.5, "va": "center", "fontweight": "bold"}
        beside = {"xytext": (7, 0), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(name, (right, place), **beside, **style)


# ------------------------------------------------------------------------------------------ length


def length_histogram(
    before: Sequence[int], after: Sequence[int], people: Sequence[int] | None = None
) -> Figure:
    """Words in a caption before and after, as lines over the bars of people's captions.

    Args:
        before (Sequence[int]): words of each caption of the starting model.
        after (Sequence[int]): words of each caption of the trained one.
        people (Sequence[int] | None): words of each caption of people.

    Returns:
        Figure: one axes; heights are shares of captions in percent.
    """
    given = {"people": people or [], "before": before, "after": after}
    figure, ((axes,),) = new_figure(height=2.8)
    spoken = []
    for name, values in given.items():
        if not len(values):
            continue
        counts = Counter(values)
        lengths = np.arange(max(0, min(values) - 1), max(values) + 2)
        shares = [100 * counts[length] / len(values) for length in lengths]
        label = f"{name}, mean {np.mean(values):.1f}"
        spoken.append(label)
        if name == "people":
            axes.bar(lengths, shares, 0.9, color="#dfe1ea", label=label)
        else:
            colour = PALETTE["orange" if name == "before" else "blue"]
            axes.plot(lengths, shares, "o-", color=colour, label=label)
    axes.set(xlabel="words in a caption", ylabel="% of captions", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper right")
    return set_alt_text(figure, "Words in a caption: " + "; ".join(spoken))
