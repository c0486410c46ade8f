"""What the figures of lesson 5 show equals what was given, and is said in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from captioning.boxes import grid_areas
from captioning.plotting import regions, space, transformers
from captioning.plotting.pages import PALE_DOWN, PALE_UP
from captioning.plotting.style import alt_text, holds_pictures

WORDS = ["<start>", "a", "red", "dog"]
RED = Image.new("RGB", (40, 20), "red")
WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])


def texts(figure) -> list[str]:
    """Everything written in a figure."""
    inside = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in [*inside, *figure.texts]]


def cells(figure, colour: str) -> list[tuple[float, float]]:
    """Places of the squares of a colour."""
    patches = [p for axes in figure.axes for p in axes.patches if isinstance(p, Rectangle)]
    return [p.get_xy() for p in patches if p.get_fill() and to_hex(p.get_facecolor()) == colour]


# --------------------------------------------------------------------------------------- attention


def test_attention_shows_all_numbers():
    steps = {"queries": torch.tensor([[1.0, -2.0], [0.25, 3.0]]), "weights\nsoftmax": torch.eye(2)}
    figure = transformers.attention_by_hand(["red", "dog"], steps, ["weights\nsoftmax"])
    shown = texts(figure)
    assert [t for t in shown if "." in t] == "1.00 −2.00 0.25 3.00 1.00 0.00 0.00 1.00".split()
    assert shown.count("red") == shown.count("dog") == 2  # rows, and columns of the second
    assert {"queries", "weights", "softmax"} <= set(shown)
    assert "queries [[1.0, -2.0], [0.25, 3.0]]" in alt_text(figure)


def test_a_number_and_its_negative_have_opposite_colours():
    figure = transformers.attention_by_hand(["a"], {"x": torch.tensor([[2.0, -2.0, 0.0]])})
    for side, colour in enumerate((1.0, 0.0, 0.5)):
        assert len(cells(figure, to_hex(transformers.BOTH(colour)))) == 1, side


def test_masks_have_a_blue_cell_for_each_that_counts():
    order = torch.ones(4, 4, dtype=torch.bool).tril()
    masks = {"words": transformers.Mask(order, WORDS, WORDS, "in order")}
    masks["regions"] = transformers.Mask(torch.tensor([[True, False]]), ["one"], ["1", "2"])
    figure = transformers.masks_figure(masks)
    assert len(cells(figure, transformers.SEEN)) == 10 + 1
    assert len(cells(figure, transformers.HIDDEN)) == 6 + 1
    assert "in order" in texts(figure)
    assert alt_text(figure).endswith("words: 10 of 16 cells count; regions: 1 of 2 cells count")


# ------------------------------------------------------------------------------------------- cache


def test_what_is_computed_in_each_step():
    without, with_cache = (transformers.position_states(3, cached) for cached in (False, True))
    assert without.tolist() == [[2, 0, 0], [2, 2, 0], [2, 2, 2]]
    assert with_cache.tolist() == [[2, 0, 0], [1, 2, 0], [1, 1, 2]]
    counts = [int((transformers.position_states(21, c) == 2).sum()) for c in (False, True)]
    assert counts == [231, 21]


def test_cache_figure_draws_it():
    figure = transformers.cache_figure(WORDS)
    assert len(cells(figure, transformers.NEW)) == 10 + 4 + 1  # and one in the legend
    assert len(cells(figure, transformers.KEPT)) == 6 + 1
    assert "Without cache: 10 positions computed" in texts(figure)
    assert alt_text(figure) == "4 steps: 10 positions computed without, 4 with a cache"


def test_times_and_ratios():
    figure = transformers.cache_times({5: (0.02, 0.01), 10: (0.06, 0.02)}, {1: (0.03, 0.02)})
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[5, 20], [10, 60]]
    assert left.lines[1].get_xydata().tolist() == [[5, 10], [10, 20]]
    assert [bar.get_height() for bar in right.patches] == pytest.approx([1.5])
    assert "5 words 20 and 10, 10 words 60 and 20; times faster: 1 pictures 1.5" in alt_text(figure)


def test_heads_are_blocks_of_words_and_regions():
    weights = torch.zeros(5, 2, 3)
    weights[:, 0, 2], weights[:, 1, 0] = 1.0, 1.0
    figure = transformers.heads_figure(weights, ["red", "dog"], ["dog", "cat", "all"], columns=2)
    assert len(cells(figure, to_hex(transformers.MORE(1.0)))) == 5 * 2 + 1  # and one in the scale
    assert len(cells(figure, to_hex(transformers.MORE(0.0)))) == 5 * 4 + 1
    assert [t for t in texts(figure) if t.isdigit()] == ["0", "25", "50", "75", "100"]
    assert [t for t in texts(figure) if t.startswith("head")] == [f"head {h}" for h in range(1, 6)]
    assert alt_text(figure).endswith("red: all, dog: dog")
    with pytest.raises(ValueError, match="words, weights: 1, 2 received"):
        transformers.heads_figure(weights, ["red"], ["dog", "cat", "all"])


# ----------------------------------------------------------------------------------------- regions


def test_boxes_are_drawn_where_they_are():
    box = torch.tensor([0.25, 0.5, 0.75, 1.0])
    figure = regions.boxes_figure([RED], [torch.stack([box, WHOLE])], [["dog", "all"]])
    (axes,) = figure.axes
    outlines = [p for p in axes.patches if not p.get_fill()]
    assert len(outlines) == 4  # white under colour
    first = outlines[0]
    assert (*first.get_xy(), first.get_width(), first.get_height()) == pytest.approx(
        (6.75 * 0.25, 3.375 * 0.5, 3.375, 1.6875)
    )
    assert texts(figure) == ["■ dog", "■ all"] and holds_pictures(figure)
    with pytest.raises(ValueError, match="pictures, boxes, names: 1, 0, 1 received"):
        regions.boxes_figure([RED], [], [["dog"]])


def test_areas_and_their_sums():
    box = torch.tensor([0.0, 0.25, 0.5, 1.0])
    areas = grid_areas(box[None], 4)[0].view(4, 4)
    figure = regions.areas_figure(RED, box, areas, "dog")
    assert len(cells(figure, to_hex(regions.MORE(1.0)))) == 6
    (axes,) = figure.axes
    orange = [p for p in axes.patches if to_hex(p.get_facecolor()) == regions.PALETTE["orange"]]
    rows, columns = orange[::2], orange[1::2]
    lengths = [p.get_width() for p in rows], [p.get_height() for p in columns]
    assert lengths[0] == pytest.approx([0, *[2 * 0.85 / 3] * 3])
    assert lengths[1] == pytest.approx([0.85, 0.85, 0, 0])
    assert alt_text(figure) == "dog: a box that touches 6 of 16 cells, 6.0 cells in all"


def test_a_heavy_region_keeps_its_colour_and_others_fade():
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    shown = np.asarray(regions.region_overlay(RED, torch.tensor([1.0, 0.0]), boxes, side=80))
    assert shown.shape == (40, 80, 3)
    assert shown[20, 20].tolist() == [255, 0, 0]
    assert shown[20, 60].tolist() != [255, 0, 0] and shown[20, 60].min() > 90
    assert to_hex(shown[0, 0] / 255) == regions.CYCLE[0]  # the frame of the heaviest
    tenths = torch.tensor([0.1, 0.05])  # what counts is the share of the heaviest
    half, whole = (
        np.asarray(regions.region_overlay(RED, weights, boxes, side=80)).astype(int)
        for weights in (tenths, torch.tensor([0.1, 0.0]))
    )
    assert half[20, 20].tolist() == [255, 0, 0] and 1 < half[20, 60, 1] < whole[20, 60, 1] - 40
    point = regions.region_overlay(RED, torch.ones(1), torch.ones(1, 4))  # a box without area
    assert point.size == (360, 180)


def test_words_and_heads_of_a_word():
    weights = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])  # (h, T, P)
    boxes = torch.stack([torch.tensor([0.0, 0.0, 0.5, 0.5]), WHOLE])
    figure = regions.words_figure(RED, ["a", "dog"], weights.mean(0), boxes)
    assert len(figure.axes) == 2 and alt_text(figure).endswith("a: region 1, dog: region 2")
    assert texts(figure) == ["a · 80 %", "dog · 70 %"]
    figure = regions.word_heads(RED, ["a", "dog"], weights, boxes, ["cat", "all"], word=9)
    assert "a DOG" in texts(figure)
    numbers = [t for t in texts(figure) if t in ("20", "40", "80", "60")]
    assert numbers == ["20", "40", "80", "60"]
    assert alt_text(figure) == "For dog the heads together weigh all most"


# ------------------------------------------------------------------------------------------- space


def test_mirror_images_are_mirrored_and_sides_marked():
    picture = Image.new("RGB", (20, 10), "white")
    picture.paste("black", (0, 0, 10, 10))
    figure = space.mirror_figure([picture], ["A cat left of it."], ["A cat right of it."])
    (axes,) = figure.axes
    shown = [np.asarray(image.get_array())[5, :, 0].tolist() for image in axes.images]
    assert shown[0] == [0] * 10 + [255] * 10 == shown[1][::-1]
    assert len(cells(figure, PALE_UP)) == len(cells(figure, PALE_DOWN)) == 1
    assert "A cat left of it. mirrored: A cat right of it." in alt_text(figure)


def test_sides_are_marked_in_every_form_and_nothing_else_is():
    told = "Left of it; on the right-hand side, right. Leftover upright".split()
    picture = Image.new("RGB", (20, 10))
    figure = space.mirror_figure([picture] * 4, [" ".join(told)] * 4, ["A cat."] * 4)
    assert len(cells(figure, PALE_UP)) == 4 and len(cells(figure, PALE_DOWN)) == 4 * 2
    places = {round(image.get_extent()[0], 3) for image in figure.axes[0].images}
    assert len(places) == 6  # three pairs in a row, the fourth below


def test_shares_and_their_intervals():
    figure = space.shares_figure({"plain": (3, 10, 0.3, 0.1, 0.6)}, "Exchanged", chance=0.5)
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([10, 60])
    assert axes.lines[1].get_xdata().tolist() == pytest.approx([30])
    assert {"3 of 10", "a coin"} <= set(texts(figure))
    assert alt_text(figure).endswith("plain: 3 of 10, 10 to 60 %")


def a_summary(seeds: int = 2) -> dict:
    """A matrix of three cells in the shape of the runner's `summary.json`."""

    def score(mean: float, difference: tuple[float, float, float] | None) -> dict:
        row = {"mean": mean, "std": 0.01 if seeds > 1 else None, "seeds": [mean] * seeds}
        if difference:
            ends = difference[1:] if seeds > 1 else (None, None)
            named = dict(zip(("low", "high"), ends, strict=True))
            row["difference"] = {"mean": difference[0], "seeds": [difference[0]] * seeds, **named}
        return row

    rows = {"plain": (1.0, None), "gxg": (1.2, (0.2, 0.1, 0.3)), "g2": (1.1, (0.1, -0.1, 0.3))}
    cells = {
        name: {
            "seeds": [*range(seeds)],
            "parameters": 5000,
            "tests": {"beam 5": {"CIDEr": score(*v)}},
        }
        for name, v in rows.items()
    }
    return {"baseline": "plain", "cells": cells}


def test_matrix_table_and_what_is_clear():
    table = space.matrix_table(a_summary(), "beam 5", {"CIDEr": "CIDEr"})
    assert table.lines()[1] == ["plain", "1.000 ± 0.010", "5,000", "2"]
    assert space.matrix_table(a_summary(1), "beam 5", {"CIDEr": "CIDEr"}).lines()[2][1] == "1.200"
    assert space.clear_cells(a_summary(), "beam 5", "CIDEr") == ["gxg"]
    assert space.clear_cells(a_summary(1), "beam 5", "CIDEr") == []


@pytest.mark.parametrize(("seeds", "strong"), [(2, ["#3b78c9", "#8b8fa3"]), (1, ["#8b8fa3"] * 2)])
def test_matrix_differences_are_strong_where_clear(seeds, strong):
    figure = space.matrix_differences(a_summary(seeds), "beam 5", {"CIDEr": "CIDEr"})
    (axes,) = figure.axes
    means = [line for line in axes.lines if line.get_markersize() == 8]
    assert [line.get_xdata().tolist() for line in means] == [[0.2], [0.1]]
    assert [to_hex(line.get_color()) for line in means] == strong
    assert "CIDEr, gxg +0.200" in alt_text(figure)
    only = a_summary()
    only["cells"] = {"plain": only["cells"]["plain"]}
    with pytest.raises(ValueError, match="no cell beside the first one"):
        space.matrix_differences(only, "beam 5", {"CIDEr": "CIDEr"})


def test_figures_of_long_captions_stay_on_the_page():
    """Nothing is written or drawn beyond the edge."""
    words = (
        "<start> a girl in a red dress stands to the left of a small white dog on a beach".split()
    )
    weights = torch.ones(8, len(words), 7) / 7
    names = [*"dog cat house lighthouse table chair".split(), "whole picture"]
    for figure in (
        transformers.cache_figure(words),
        transformers.heads_figure(weights, words, names),
        transformers.masks_figure(
            {"a": transformers.Mask(torch.eye(len(words)).bool(), words, words)}
        ),
    ):
        renderer = FigureCanvasAgg(figure).get_renderer()
        for text in figure.axes[0].texts:
            box = text.get_window_extent(renderer)
            assert box.x0 >= -1 and box.y0 >= -1
            assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
