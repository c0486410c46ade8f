"""Pictures of learning: a curve that grows while a model trains, runs side by side, bars.

`LiveTraining` is given to `train` as its two callbacks. It redraws one display in place, so that
the saved notebook holds the last state only: one chart and one row of pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captioning.plotting.style import CYCLE, PALETTE, new_figure, picture_grid, set_alt_text


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Running mean over the last `window` values (fewer at the start).

    Args:
        values (Sequence[float]): the numbers, in order.
        window (int): how many are averaged, at least 1.
    """
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=float)]))
    last = np.arange(1, len(sums))
    first = np.maximum(0, last - max(1, window))
    return (sums[last] - sums[first]) / (last - first)


def spell_seconds(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# ------------------------------------------------------------------------------------------ curves


def training_curves(
    steps: Sequence[int],
    losses: Sequence[float],
    epochs: Sequence[Mapping[str, Any]] = (),
    human: float | None = None,
    title: str = "",
    thawed: int = 0,
) -> Figure:
    """Loss of every step beside the free-running CIDEr of every epoch.

    Args:
        steps (Sequence[int]): numbers of the steps.
        losses (Sequence[float]): cross-entropy of each step, nats a word.
        epochs (Sequence[Mapping]): one for each finished epoch with `epoch`, `step`, `CIDEr` and,
            where known, `validation_loss`.
        human (float | None): CIDEr of people, drawn as a line.
        title (str): a line above the loss.
        thawed (int): epochs before the encoder is trained too, marked when it is more than 0.

    Returns:
        Figure: two axes: loss against steps, CIDEr against epochs.
    """
    figure, ((left, right),) = new_figure(1, 2, height=3.0, width_ratios=[1.5, 1])
    left.plot(steps, losses, color=PALETTE["blue"], alpha=0.22, linewidth=1)
    window = max(1, min(25, len(losses) // 20))
    left.plot(steps, smooth(losses, window), color=PALETTE["blue"], label="training")
    known = [e for e in epochs if e.get("validation_loss") is not None]
    if known:
        places = [e["step"] for e in known], [e["validation_loss"] for e in known]
        left.plot(*places, "o-", color=PALETTE["orange"], label="validation, same question")
        left.legend(loc="upper right")
    left.set(title=title or "Loss, words given", xlabel="step", ylabel="nats a word")
    draw_epochs(right, epochs, human)
    if 0 < thawed < max((e["epoch"] for e in epochs), default=0):
        right.axvline(thawed + 0.5, color=PALETTE["purple"], linestyle=":", linewidth=1.3)
        place = right.get_xaxis_transform()
        note = {"fontsize": 8, "color": PALETTE["purple"], "transform": place}
        right.text(thawed + 0.42, 0.04, "encoder\nfrozen", ha="right", **note)
        right.text(thawed + 0.58, 0.04, "encoder\ntrained", ha="left", **note)
    last = f"{losses[-1]:.2f}" if len(losses) else "none yet"
    best = max((e["CIDEr"] for e in epochs), default=None)
    spoken = "" if best is None else f"; best CIDEr {best:.2f} of {len(epochs)} epochs"
    return set_alt_text(figure, f"Training curves: last loss {last}{spoken}")


def draw_epochs(axes: Axes, epochs: Sequence[Mapping[str, Any]], human: float | None) -> None:
    """CIDEr against epochs, the best one marked, people as a dashed line."""
    numbers, scores = [e["epoch"] for e in epochs], [e["CIDEr"] for e in epochs]
    axes.plot(numbers, scores, "o-", color=PALETTE["green"])
    axes.set(title="CIDEr, running freely", xlabel="epoch")
    axes.set_xlim(min(numbers, default=1) - 0.5, max(numbers, default=1) + 0.5)
    top = max([*scores, human or 0, 0.1])
    axes.set_ylim(0, top * 1.18)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if scores:
        best = int(np.argmax(scores))
        where = (numbers[best], scores[best])
        axes.plot(*where, "o", markersize=9, markeredgecolor="white", color=PALETTE["green"])
        axes.annotate(
            f"{scores[best]:.2f}",
            where,
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=PALETTE["green"],
            fontweight="bold",
        )
    if human is not None:
        human_line(axes, human, horizontal=True)


def human_line(axes: Axes, value: float, horizontal: bool = False, text: str = "people") -> None:
    """A dashed line where people stand, with its name and value."""
    style = {"color": PALETTE["ink"], "linestyle": (0, (4, 3)), "linewidth": 1.3}
    label = {"fontsize": 8.5, "color": PALETTE["ink"]}
    if horizontal:
        axes.axhline(value, **style)
        place = axes.get_yaxis_transform()
        axes.text(0.02, value, f"{text} {value:.2f}", va="bottom", transform=place, **label)
    else:
        axes.axvline(value, **style)
        place = axes.get_xaxis_transform()
        axes.text(value, 1.03, f"{text} {value:.2f}", ha="center", transform=place, **label)


def compare_runs(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], human: float | None = None
) -> Figure:
    """Several runs in the same axes: smoothed loss against steps, CIDEr against epochs.

    Args:
        runs (Mapping): name to the rows of its log (`history.read_history`).
        human (float | None): CIDEr of people, drawn as a line.

    Returns:
        Figure: two axes, one line a run in each.
    """
    figure, ((left, right),) = new_figure(1, 2, height=3.0, width_ratios=[1.2, 1])
    for (name, rows), colour in zip(runs.items(), CYCLE, strict=False):
        steps = [row for row in rows if row["kind"] == "step"]
        epochs = [row for row in rows if row["kind"] == "epoch"]
        numbers, losses = [row["step"] for row in steps], [row["loss"] for row in steps]
        left.plot(numbers, smooth(losses, 10), color=colour, label=name)
        scores = [row["CIDEr"] for row in epochs]
        right.plot([row["epoch"] for row in epochs], scores, "o-", color=colour, label=name)
    left.set(title="Loss, words given", xlabel="step", ylabel="nats a word")
    right.set(title="CIDEr, running freely", xlabel="epoch")
    right.set_ylim(bottom=0)
    right.xaxis.get_major_locator().set_params(integer=True)
    if human is not None:
        human_line(right, human, horizontal=True)
    left.legend(loc="upper right")
    return set_alt_text(figure, "Loss and CIDEr of the runs " + ", ".join(runs))


def loss_against_score(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    """Validation loss and validation CIDEr over the same epochs, the best of each marked.

    Args:
        epochs (Sequence[Mapping]): with `epoch`, `validation_loss` and `CIDEr`.

    Returns:
        Figure: two axes above each other's epochs, side by side.
    """
    figure, ((left, right),) = new_figure(1, 2, height=2.7)
    sides = (
        (left, "validation_loss", "Loss: the words before are given", np.argmin, "orange"),
        (right, "CIDEr", "CIDEr: the captioner is on its own", np.argmax, "green"),
    )
    spoken = []
    for axes, key, title, best_of, colour in sides:
        numbers, values = [e["epoch"] for e in epochs], [e[key] for e in epochs]
        best = int(best_of(values))
        axes.plot(numbers, values, "o-", color=PALETTE[colour])
        axes.axvline(numbers[best], color=PALETTE[colour], alpha=0.25, linewidth=9, zorder=0)
        axes.set(title=title, xlabel=f"epoch (best: {numbers[best]})")
        axes.xaxis.get_major_locator().set_params(integer=True)
        spoken.append(f"{key} is best after epoch {numbers[best]}")
    return set_alt_text(figure, "Validation: " + "; ".join(spoken))


# -------------------------------------------------------------------------------------------- bars


def score_bars(
    scores: Mapping[str, float],
    human: float | None = None,
    title: str = "",
    label: str = "CIDEr",
    highlight: str = "",
) -> Figure:
    """One horizontal bar for each system, people as a dashed line.

    Args:
        scores (Mapping[str, float]): name to score, drawn from top to bottom.
        human (float | None): the score of people.
        title (str): what is compared.
        label (str): what the bars measure.
        highlight (str): name of the bar in strong colour; empty: all.

    Returns:
        Figure: one axes with a bar for each name.
    """
    figure, ((axes,),) = new_figure(height=0.95 + 0.36 * len(scores))
    names, values = list(scores), list(scores.values())
    strong = [not highlight or name == highlight for name in names]
    colours = [PALETTE["blue"] if yes else "#a9c2e6" for yes in strong]
    axes.barh(names, values, color=colours, height=0.62)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([*values, human or 0, 1e-6]) * 1.12)
    axes.set_xlabel(label)
    axes.set_title(title, pad=18 if human is not None else 8)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # keeps the dashed line off
    for row, value in enumerate(values):
        place = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(f"{value:.2f}", (value, row), bbox=paper, zorder=3, **place)
    if human is not None:
        human_line(axes, human)
    spoken = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
    people = "" if human is None else f"; people {human:.2f}"
    return set_alt_text(figure, f"{title or label}: {spoken}{people}")


def grouped_bars(
    systems: Mapping[str, Mapping[str, float]],
    title: str = "",
    label: str = "",
    height: float = 2.9,
) -> Figure:
    """Several systems under several measures: a group of bars for each measure.

    Args:
        systems (Mapping): system to its measures; all have the same ones.
        title (str): what is compared.
        label (str): of the vertical axis.
        height (float): inches.

    Returns:
        Figure: one axes; bars of one system share a colour.
    """
    figure, ((axes,),) = new_figure(height=height)
    measures = list(next(iter(systems.values())))
    width = 0.8 / len(systems)
    for index, (name, scores) in enumerate(systems.items()):
        x = np.arange(len(measures)) - 0.4 + width * (index + 0.5)
        values = [scores[measure] for measure in measures]
        colour = PALETTE["grey"] if name == "people" else CYCLE[index % len(CYCLE)]
        axes.bar(x, values, width * 0.92, color=colour, label=name)
        for place, value in zip(x, values, strict=True):
            axes.text(place, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7.5)
    axes.set_xticks(np.arange(len(measures)), measures)
    axes.grid(axis="x", visible=False)
    axes.set(title=title, ylabel=label)
    axes.margins(y=0.14)
    axes.legend(loc="upper right", ncols=len(systems), bbox_to_anchor=(1, 1.16))
    return set_alt_text(
        figure, f"{title}: " + "; ".join(f"{n} {dict(s)}" for n, s in systems.items())
    )


# -------------------------------------------------------------------------------------------- live


def caption_progress(
    pictures: Sequence[Any], epochs: Sequence[Mapping[str, Any]], shown: int = 3
) -> Figure:
    """The same pictures with the captions they got after some of the epochs, the last included.

    Args:
        pictures (Sequence): the first validation pictures.
        epochs (Sequence[Mapping]): with `epoch` and `samples`, one caption for each picture.
        shown (int): at most so many epochs, evenly spread.

    Returns:
        Figure: a grid of pictures.
    """
    places = np.linspace(0, len(epochs) - 1, min(shown, len(epochs))).round().astype(int)
    chosen = [epochs[place] for place in dict.fromkeys(places.tolist())]
    captions = [
        [f"epoch {e['epoch']}: {e['samples'][index]}" for e in chosen]
        for index in range(len(pictures))
    ]
    return picture_grid(pictures, captions)


class LiveDisplay:
    """Shows the figures of a run in a notebook, each in place of the one before; keeps its time.

    Args:
        seconds (float): least time between two drawings (`is_due`).
    """

    def __init__(self, seconds: float = 3.0) -> None:
        self.seconds = seconds
        self._handles: dict[str, Any] = {}
        self._began = self._drawn = time.monotonic()
        self._first_step: int | None = None

    def note_step(self, run: Any) -> None:
        """To be called after each step; the clock starts at the first."""
        if self._first_step is None:
            self._began, self._first_step = time.monotonic(), run.step - 1

    def is_due(self) -> bool:
        """Whether the last drawing is old enough."""
        return time.monotonic() - self._drawn >= self.seconds

    def headline(self, run: Any) -> str:
        """Epochs done, and the time that is left or was taken."""
        epoch = f"epoch {run.epoch} of {run.experiment.training.num_epochs} done"
        if self._first_step is None:
            return epoch
        spent = time.monotonic() - self._began
        done, total = run.step - self._first_step, run.total_steps - self._first_step
        left = f"{spell_seconds(spent / max(1, done) * (total - done))} left"
        return f"{epoch} · {left if done < total else f'took {spell_seconds(spent)}'}"

    def show(self, name: str, figure: Figure) -> None:
        """Show a figure in a notebook, in place of the last of that name; elsewhere do nothing."""
        self._drawn = time.monotonic()
        if get_ipython() is None:
            return
        if name in self._handles:
            self._handles[name].update(figure)
        else:
            self._handles[name] = display(figure, display_id=True)


class LiveTraining:
    """A chart, and pictures with captions, that follow a run; give both methods to `train`.

    Args:
        pictures (Sequence): the first validation pictures, to be shown with their captions.
        validation_loss (Callable | None): run -> loss of the validation captions, words given.
        human (float | None): CIDEr of people, drawn as a line.
        seconds (float): least time between two drawings.

    `steps`, `losses` and `epochs` hold what was drawn.
    """

    def __init__(
        self,
        pictures: Sequence[Any] = (),
        validation_loss: Callable[[Any], float] | None = None,
        human: float | None = None,
        seconds: float = 3.0,
    ) -> None:
        self.pictures, self.validation_loss = list(pictures), validation_loss
        self.human = human
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.epochs: list[dict[str, Any]] = []
        self.title, self.thawed = "", 0
        self._display = LiveDisplay(seconds)

    def on_step(self, run: Any, row: Mapping[str, Any]) -> None:
        """Note the loss of a step; draw when the last drawing is old enough."""
        self._display.note_step(run)
        if not self.steps:
            encoder = run.experiment.encoder
            self.thawed = 0 if encoder.trainable == "none" else encoder.trainable_from_epoch
        self.steps.append(run.step)
        self.losses.append(row["loss"])
        if self._display.is_due():
            self._draw(run)

    def on_epoch(self, run: Any, row: Mapping[str, Any]) -> None:
        """Note the validation scores of an epoch, and draw."""
        entry = {"epoch": run.epoch, "step": run.step, "CIDEr": row["CIDEr"]}
        entry["samples"] = list(row["samples"])
        if self.validation_loss is not None:
            entry["validation_loss"] = self.validation_loss(run)
        self.epochs.append(entry)
        self._draw(run)
        if self.pictures:
            self._display.show("pictures", caption_progress(self.pictures, self.epochs))

    def figure(self) -> Figure:
        """The chart as it is now."""
        shown = (self.steps, self.losses, self.epochs, self.human, self.title, self.thawed)
        return training_curves(*shown)

    def _draw(self, run: Any) -> None:
        self.title = f"Loss, words given · {self._display.headline(run)}"
        self._display.show("chart", self.figure())
