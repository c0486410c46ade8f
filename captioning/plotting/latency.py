"""How fast captions are, in groups of words beside word by word: a picture of `bench latency`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from captioning.plotting.pages import DOWN, SOFT, UP
from captioning.plotting.style import WIDTH, new_figure, set_alt_text, wrap

FORMS = {True: ("with cache", UP, "o"), False: ("without cache, as published", DOWN, "s")}
HALO = [withStroke(linewidth=2.5, foreground="white")]  # numbers stay legible on lines
WHISKERS = "whiskers: quartiles of the rounds"
SIDE = 0.07  # how far the two lines of a panel stand apart, in words


def plot_latency(record: Mapping[str, Any], span: str = "search") -> Figure:
    """Times as fast as the first model with cache: a panel for each batch and beam.

    Args:
        record (Mapping): what `captioning.bench.latency.measure_latency` gave.
        span (str): decoder, search, captioning or end_to_end.

    Returns:
        Figure: columns are batches, rows are beams; points are medians over the rounds, whiskers
        quartiles. Models that differ in their group size stand at it, others side by side.

    Raises:
        ValueError: the span was not measured.
    """
    cases = record["cases"]
    if not all(span in arm["spans"] for case in cases for arm in case["arms"]):
        known = sorted(set.intersection(*(set(a["spans"]) for c in cases for a in c["arms"])))
        raise ValueError(f"span: {span!r} received, one of {known} expected")
    batches, beams = (
        [*dict.fromkeys(case[name] for case in cases)] for name in ("batch_size", "beam_size")
    )
    figure, grid = new_figure(
        len(beams), len(batches), 0.95 + 2.4 * len(beams), sharex=True, sharey=True
    )
    at, ticks = _places(record["models"])
    in_groups = ticks == [*at.values()]
    for case in cases:
        row, column = beams.index(case["beam_size"]), batches.index(case["batch_size"])
        _draw_case(grid[row][column], case, at, in_groups, span, record["baseline"])
    highest = max(axes.get_ylim()[1] for axes in grid.flat)
    for axes in grid.flat:
        axes.set_xticks([*at.values()], ticks)
        if not in_groups:
            axes.tick_params("x", labelrotation=20, labelsize=8)
        axes.set_xlim(min(at.values()) - 0.5, max(at.values()) + 0.5)
        axes.set_ylim(-0.1 * highest, 1.1 * highest)  # room for numbers
        axes.grid(axis="x", visible=False)
        axes.yaxis.set_major_formatter("{x:g}×")
    for axes in grid[-1]:
        axes.set_xlabel("words said at once" if in_groups else "")
    message = _message(record, span)
    figure.suptitle(message, x=0.012, ha="left", fontsize=10.5, fontweight="bold", linespacing=1.5)
    handles, labels = grid[0][0].get_legend_handles_labels()
    place = {"loc": "outside lower left", "ncols": 3, "fontsize": 8.5, "labelcolor": SOFT}
    figure.legend([*handles, Line2D([], [], linestyle="none")], [*labels, WHISKERS], **place)
    return set_alt_text(figure, f"{' '.join(message.split())} {_spoken(cases, span)}")


def _places(models: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], list[Any]]:
    """Where models stand, by name, and what is written there: group sizes where all differ."""
    sizes, names = ([model[key] for model in models] for key in ("group_size", "name"))
    if len(set(sizes)) == len(sizes) > 1:
        return dict(zip(names, sizes, strict=True)), sizes
    return {name: place for place, name in enumerate(names)}, names


def _draw_case(
    axes: Axes,
    case: Mapping[str, Any],
    at: Mapping[str, float],
    in_groups: bool,
    span: str,
    baseline: str,
) -> None:
    """A panel: two lines (or points), a number at each point, the higher one's above."""
    values = {(arm["model"], arm["cache"]): arm["spans"][span] for arm in case["arms"]}
    for cache, (label, colour, marker) in FORMS.items():
        shown = {n: one["faster_than_cached"] for (n, c), one in values.items() if c == cache}
        if not shown:
            continue
        aside = (SIDE if cache else -SIDE) if in_groups else 0.0  # whiskers do not overlap
        places = {name: at[name] - aside for name in shown}
        x, middle = [*places.values()], [one["median"] for one in shown.values()]
        ends = [
            [abs(one["median"] - one[end]) for one in shown.values()] for end in ("lower", "upper")
        ]
        look = {"color": colour, "marker": marker, "capsize": 2.5, "elinewidth": 1.2}
        look["linestyle"] = "-" if in_groups else "none"
        axes.errorbar(x, middle, ends, label=label, markersize=4.5, linewidth=1.8, **look)
        for name, one in shown.items():
            other = values.get((name, not cache), {}).get("faster_than_cached", {"median": -1})
            _write(axes, places[name], one, one["median"] >= other["median"], colour)
    axes.axhline(1, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    search = "greedy" if case["beam_size"] == 1 else f"beam {case['beam_size']}"
    pictures = _pictures(case["batch_size"])
    axes.set_title(f"{pictures}, {search}", loc="left", fontsize=9.5, pad=16)
    unit = values[baseline, True]["picture_ms"]["median"]
    note = f"1× is {_milliseconds(unit)} a picture"
    style = {"textcoords": "offset points", "xycoords": "axes fraction", "fontsize": 8}
    axes.annotate(note, (0, 1), (0, 5), color=SOFT, **style)


def _write(axes: Axes, x: float, one: Mapping[str, float], above: bool, colour: str) -> None:
    """A number beyond the whisker of its point."""
    where = (x, one["upper" if above else "lower"])
    style = {"ha": "center", "va": "bottom" if above else "top", "fontsize": 8, "color": colour}
    shift = (0, 3.5 if above else -3.5)
    style |= {"textcoords": "offset points", "path_effects": HALO}
    axes.annotate(f"{one['median']:.1f}", where, shift, **style)


def _message(record: Mapping[str, Any], span: str) -> str:
    """What the picture says, in two sentences: against the cached baseline, then the other."""
    base, cases = record["baseline"], record["cases"]
    beam = cases[0]["beam_size"]
    cases = [case for case in cases if case["beam_size"] == beam]
    ends = cases[:1] if len(cases) == 1 else [cases[0], cases[-1]]
    arms = [{a["model"]: a["spans"][span] for a in case["arms"] if a["cache"]} for case in ends]
    others = [name for name in arms[0] if name != base]
    if not others:
        both = any(not arm["cache"] for arm in cases[0]["arms"])
        return f"{base} {'with and without a cache' if both else 'alone'}"
    best = max(others, key=lambda name: arms[0][name]["faster_than_cached"]["median"])
    parts = []
    for case, one in zip(ends, arms, strict=True):
        beside = "" if parts else f" as fast as {base}"
        faster = one[best]["faster_than_cached"]["median"]
        parts.append(f"{faster:.1f} times{beside} for {_pictures(case['batch_size'])}")
    lines = wrap(f"{best} is {', '.join(parts)}, both with a cache.", WIDTH, 11.5)
    if all("faster_than_uncached" in one[best] for one in arms):
        seems = [f"{one[best]['faster_than_uncached']['median']:.1f}" for one in arms]
        text = f"Beside {base} without a cache it would seem {' and '.join(seems)} times."
        lines += wrap(text, WIDTH, 11.5)
    return "\n".join(lines)


def _pictures(number: int) -> str:
    return "one picture" if number == 1 else f"{number} pictures at once"


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _spoken(cases: Sequence[Mapping[str, Any]], span: str) -> str:
    """All medians in words."""
    parts = []
    for case in cases:
        told = ", ".join(
            f"{arm['model']} {FORMS[arm['cache']][0].partition(',')[0]} "
            f"{arm['spans'][span]['faster_than_cached']['median']:.2f}"
            for arm in case["arms"]
        )
        parts.append(f"{_pictures(case['batch_size'])}, beam {case['beam_size']}: {told}")
    return "; ".join(parts)
